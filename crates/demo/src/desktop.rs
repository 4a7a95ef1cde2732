//! Opens the page in the browser of the desktop (`--open`).

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::console::Console;

/// The command of the desktop that opens an address.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else if cfg!(windows) {
    "explorer"
} else {
    "xdg-open"
};

/// Opens the page. Without a desktop the demo goes on: its address is printed anyway.
pub(crate) fn open(address: SocketAddr, console: &Console) {
    let opener = Command::new(OPENER)
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = opener {
        console.line(&format!(
            "There is no desktop to open the page on ({OPENER}: {error}); open http://{address}/\n"
        ));
    }
}
