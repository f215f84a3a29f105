//! What the web server shows: metrics, whether the node lives and is ready, and a page for people.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::json;

use crate::job::NodeName;
use crate::telemetry::{History, Metrics, STATUS_PAGE, Snapshot, health_value, json as bytes_of, status_page_policy};
use crate::web::{Ask, Page, Pages, WebServer};

/// Content type of Prometheus' text.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Content type of OpenMetrics' text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages are made of.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) node: NodeName,
    pub(super) metrics: Arc<Metrics>,
    pub(super) history: Arc<Mutex<History>>,
}

/// The web server. A machine on which it can't be made still serves its devices.
pub(super) fn web_server(address: SocketAddr, sources: Sources) -> Option<WebServer> {
    let pages: Pages = Arc::new(move |ask| sources.page(ask));
    match WebServer::bind(address, pages) {
        Ok(server) => {
            tracing::info!("metrics and status page at http://{}/", server.address());
            Some(server)
        }
        Err(e) => {
            tracing::warn!("no metrics and no status page: {e}");
            None
        }
    }
}

impl Sources {
    fn page(&self, ask: &Ask<'_>) -> Page {
        match ask.path {
            "/metrics" if ask.accept.contains("application/openmetrics-text") => {
                Page::new(OPENMETRICS, self.metrics.openmetrics())
            }
            "/metrics" => Page::new(PROMETHEUS, self.metrics.prometheus()),
            // Who gets this answer has it from the thread that the driver runs on.
            "/healthz" => Page::text(200, "alive"),
            "/readyz" => readiness(self.metrics.snapshot().as_deref()),
            "/status.json" => self.status(),
            "/" => {
                Page { policy: status_page_policy(), ..Page::new("text/html; charset=utf-8", STATUS_PAGE.as_bytes()) }
            }
            _ => Page::missing(),
        }
    }

    fn status(&self) -> Page {
        let Some(now) = self.metrics.snapshot() else { return Page::text(503, "starting") };
        let models: Vec<_> = now
            .models
            .iter()
            .map(|model| {
                json!({
                    "document": model.document, "running": model.running, "context_used": model.context_used,
                    "resident_bytes": model.resident,
                })
            })
            .collect();
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner).columns(Instant::now());
        let document = json!({
            "node": self.node.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "state": now.state,
            "reasons": now.reasons,
            "ready": now.is_ready(),
            "connected": now.link.connected,
            "waiting": now.jobs.waiting,
            "running": now.jobs.running,
            "tokens_per_second": now.tokens_per_second,
            "models": models,
            "health": health_value(&now),
            "history": history,
        });
        Page::new("application/json", bytes_of(&document))
    }
}

/// Ready is whoever answers requests.
fn readiness(now: Option<&Snapshot>) -> Page {
    let Some(now) = now else { return Page::text(503, "starting") };
    let words: Vec<&str> = std::iter::once(now.state.as_str()).chain(now.reasons.iter().map(String::as_str)).collect();
    Page::text(if now.is_ready() { 200 } else { 503 }, words.join("\n"))
}
