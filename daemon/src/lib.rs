//! promptd: a language-model appliance for the devices around an edge computer. See `ARCHITECTURE.md` for the rooms.

pub mod config;
pub mod contract;
pub mod control;
pub mod doctor;
pub mod engine;
pub mod gguf;
pub mod health;
pub mod job;
pub mod journal;
pub mod mqtt;
pub mod plan;
pub mod queue;
pub mod service;
pub mod task;
pub mod telemetry;
pub mod web;
