//! promptd from the outside: a real broker, a real model, the real binary.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

mod announcements;
mod answers;
mod bounded;
mod broker_trouble;
mod cancel;
mod chaos;
mod command_line;
mod constrained;
mod derive;
mod deriving;
mod doctor;
mod documents;
mod durable;
mod embed;
mod engine_trouble;
mod entities;
mod estimate;
mod fleet_rights;
mod gpu;
mod groups;
mod hostile;
mod jobs;
mod last_good;
mod loading_trouble;
mod metrics;
mod model_add;
mod operators;
mod policies;
mod power;
mod preemption;
mod pressure;
mod pressure_models;
mod private;
mod refusals;
mod reload;
mod reload_broker;
mod reload_models;
mod replies;
mod reproducible;
mod sandbox;
mod scores;
mod secured;
mod spans;
mod strategies;
mod switching;
mod systemd;
mod tasks;
mod telemetry;
mod thermal;
mod top;
mod top_fleet;
mod zero_shot;
