//! What systemd is told. Without systemd each call does nothing.

use sd_notify::NotifyState;

/// Every configured model has been loaded or refused.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon ends on purpose.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The state in plain words, for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::debug!("cannot notify systemd: {e}");
    }
}
