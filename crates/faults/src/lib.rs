//! A fault campaign. It injures the real programs, their broker connection, their receiver, their disk and their clients, and checks from
//! outside that nothing was lost, doubled or hidden: by the API, the receiver's log, the input, and the database file after a stop.
//!
//! Everything is drawn from a seed, so a round can be repeated; only the moments depend on the machine. It is no part of the product.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

mod broker;
mod checker;
mod clients;
mod disk;
mod facts;
mod harms;
mod injuries;
mod input;
mod ledger;
mod plan;
mod proxy;
mod receiver;
mod replicas;
mod report;
mod round;
mod service;
mod site;

pub use broker::Broker;
pub use harms::Harm;
pub use plan::{Kind, Size};
pub use replicas::Replicas;
pub use report::Report;
pub use round::Campaign;

/// The program to injure, by a path that holds from any folder.
pub fn program(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| {
        let path = path.display();
        format!("{path} is missing: build it with cargo build --release -p monitoring-service")
    })
}
