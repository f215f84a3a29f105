//! Makes the lower precisions that a model's ladder wants and no file has, one at a time, while memory allows.

use std::path::PathBuf;

use super::driver::Driver;
use crate::config::Model;

impl Driver {
    /// Files that were derived for a model earlier.
    pub(super) fn derived_files(&self, _model: &Model) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Starts the next derivation if there is one to do and nothing more important is under way.
    pub(super) fn derive_next(&mut self) {}

    /// Gives a derivation up; it is started again later.
    pub(super) fn stop_deriving(&mut self, _reason: &str) {}
}
