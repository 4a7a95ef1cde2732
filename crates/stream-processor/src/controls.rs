//! The person at the terminal: keys become commands, signals a stop. Changes nothing but the terminal's mode, and gives that back.

use std::{
    io::{Read, stdin},
    thread,
};

use rustix::{
    process::getpgrp,
    termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr},
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::pacer::Command;

/// What the keys do, for `--help` and the progress bar.
pub(crate) const KEYS: &str = "space pause, + faster, - slower, q stop";

/// Cancels `shutdown` at the first SIGINT (Ctrl-C) or SIGTERM.
pub(crate) async fn stop_at_signal(shutdown: &CancellationToken) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
    Ok(())
}

/// Keys are read while this lives; dropping it gives the terminal its mode back.
#[must_use = "the keys work only while this lives"]
#[derive(Debug)]
pub(crate) struct Keys {
    mode_before: Termios,
}

impl Keys {
    /// `None` where no person can press any: no terminal, or one that belongs to another job (to touch it would stop us).
    ///
    /// Only echo and line mode are turned off. Ctrl-C stays a signal and line ends stay line ends, unlike in raw mode, so log lines keep their shape.
    pub(crate) fn listen(
        commands: mpsc::Sender<Command>,
        shutdown: CancellationToken,
    ) -> Option<Self> {
        let input = stdin();
        if !isatty(&input) || tcgetpgrp(&input) != Ok(getpgrp()) {
            return None;
        }
        let mode_before = tcgetattr(&input).ok()?;
        let mut mode = mode_before.clone();
        mode.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &mode).ok()?;
        let keys = Self { mode_before };
        // Blocked in a read until the process ends: nothing waits for it.
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || read(&commands, &shutdown))
            .ok()?;
        Some(keys)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // There is nowhere left to say that a terminal is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.mode_before);
    }
}

fn read(commands: &mpsc::Sender<Command>, shutdown: &CancellationToken) {
    for key in stdin().lock().bytes().map_while(Result::ok) {
        match action(key) {
            Some(Action::Command(command)) if commands.blocking_send(command).is_err() => return,
            Some(Action::Stop) => shutdown.cancel(),
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Command(Command),
    Stop,
}

const fn action(key: u8) -> Option<Action> {
    Some(match key {
        b' ' => Action::Command(Command::TogglePause),
        // The same key without shift.
        b'+' | b'=' => Action::Command(Command::Faster),
        b'-' | b'_' => Action::Command(Command::Slower),
        b'q' | b'Q' => Action::Stop,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_meaning_and_others_have_none() {
        assert_eq!(action(b' '), Some(Action::Command(Command::TogglePause)));
        assert_eq!((action(b'+'), action(b'-')), (action(b'='), action(b'_')));
        assert_eq!(action(b'q'), Some(Action::Stop));
        assert_eq!((action(b'x'), action(b'\n')), (None, None));
    }
}
