//! Keys on the terminal: each becomes a command to the replay. It changes the mode of the terminal and
//! restores it at the end.

use std::io::{Read, stdin};
use std::thread;

use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::pacer::Command;

/// The keys, for the progress bar.
pub(crate) const KEYS: &str = "space pause, + faster, - slower, q stop";

/// Reads keys while it exists; dropping it restores the mode of the terminal.
#[must_use = "keys are read only while this exists"]
#[derive(Debug)]
pub(crate) struct Keys {
    mode_before: Termios,
}

impl Keys {
    /// `None` without a terminal, and for a job in the background, which the system stops if it
    /// changes the mode of the terminal.
    ///
    /// Only echo and line mode are turned off. Raw mode would also turn off Ctrl-C and the line ends
    /// of the log.
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
        // It blocks in a read until the process ends, and nothing waits for it.
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || read(&commands, &shutdown))
            .ok()?;
        Some(keys)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
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
        // The same keys without and with shift.
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
    fn each_key_has_one_action() {
        assert_eq!(action(b' '), Some(Action::Command(Command::TogglePause)));
        assert_eq!((action(b'+'), action(b'-')), (action(b'='), action(b'_')));
        assert_eq!(action(b'q'), Some(Action::Stop));
        assert_eq!((action(b'x'), action(b'\n')), (None, None));
    }
}
