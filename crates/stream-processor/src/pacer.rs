//! Waits until a message is due, by the schedule of `replay` and the clock, with pauses, changes of speed
//! and the stop. It sends nothing.

use std::time::Duration;

use common::clock::Clock;
use detection::Minute;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::replay::Pace;
use crate::speed::Speed;

/// Longest sleep between two reads of the wall clock, which can be set while a message is awaited.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A command to a running replay, from the keys or from a program. To stop it, cancel its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Pause, or continue.
    TogglePause,
    /// Double the speed.
    Faster,
    /// Halve the speed.
    Slower,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The newest minute sent.
    pub minute: Option<Minute>,
    /// Messages sent so far.
    pub sent: u64,
    /// Number of messages to send; `None` if it never ends.
    pub expected: Option<u64>,
    /// The current speed.
    pub speed: Speed,
    /// Whether it waits for [`Command::TogglePause`].
    pub paused: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            minute: None,
            sent: 0,
            expected: None,
            speed: Speed::DEFAULT,
            paused: false,
        }
    }
}

/// The replay's end: it publishes progress and receives commands.
#[derive(Debug)]
pub struct Remote {
    progress: watch::Sender<Progress>,
    commands: mpsc::Receiver<Command>,
}

/// The controller's end. Dropping it does not affect the replay.
#[derive(Clone, Debug)]
pub struct Handle {
    /// How far the replay is; changes with every message.
    pub progress: watch::Receiver<Progress>,
    /// Sends commands to the replay.
    pub commands: mpsc::Sender<Command>,
}

/// Connects a replay with its controller.
pub fn remote() -> (Remote, Handle) {
    let (progress, watcher) = watch::channel(Progress::default());
    let (sender, commands) = mpsc::channel(16);
    (
        Remote { progress, commands },
        Handle {
            progress: watcher,
            commands: sender,
        },
    )
}

/// How the wait for a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The message may be sent.
    Due,
    /// Nothing more may be sent.
    Stopped,
}

/// The wait before each message.
pub(crate) struct Pacer {
    pace: Pace,
    /// If set, nothing is sent before it has happened by this clock.
    live: Option<Clock>,
    started: Instant,
    /// When the pause began, counted from the start.
    paused: Option<Duration>,
    remote: Remote,
    stop: CancellationToken,
}

impl Pacer {
    pub(crate) fn new(
        pace: Pace,
        live: Option<Clock>,
        remote: Remote,
        stop: CancellationToken,
    ) -> Self {
        Self {
            pace,
            live,
            started: Instant::now(),
            paused: None,
            remote,
            stop,
        }
    }

    /// Waits until this time of the data, in milliseconds since 1970.
    pub(crate) async fn until_due(&mut self, due_ms: i64) -> Turn {
        loop {
            while let Ok(command) = self.remote.commands.try_recv() {
                self.apply(command, due_ms);
            }
            if self.stop.is_cancelled() {
                return Turn::Stopped;
            }
            let wait = self.wait(due_ms);
            if wait.is_zero() {
                return Turn::Due;
            }
            select! {
                () = self.stop.cancelled() => {}
                Some(command) = self.remote.commands.recv() => self.apply(command, due_ms),
                () = sleep(wait.min(CLOCK_CHECK_INTERVAL)) => {}
            }
        }
    }

    /// Publishes the progress.
    pub(crate) fn report(&self, change: impl FnOnce(&mut Progress)) {
        self.remote.progress.send_modify(|progress| {
            change(progress);
            (progress.speed, progress.paused) = (self.pace.speed(), self.paused.is_some());
        });
    }

    fn wait(&self, due_ms: i64) -> Duration {
        if self.paused.is_some() {
            return Duration::MAX;
        }
        let until_then = self.live.as_ref().map_or(Duration::ZERO, |clock| {
            let left_ms = due_ms.saturating_sub(clock.now_ms());
            Duration::from_millis(left_ms.try_into().unwrap_or(0))
        });
        let due = self.pace.due(due_ms);
        // `--speed max` skips the read of the clock.
        if due.is_zero() {
            until_then
        } else {
            due.saturating_sub(self.started.elapsed()).max(until_then)
        }
    }

    fn apply(&mut self, command: Command, next_ms: i64) {
        let now = self.started.elapsed();
        // While paused, the schedule is stopped at the begin of the pause.
        let at = self.paused.unwrap_or(now);
        match command {
            Command::Faster => self.pace.change(self.pace.speed().faster(), next_ms, at),
            Command::Slower => self.pace.change(self.pace.speed().slower(), next_ms, at),
            Command::TogglePause => match self.paused.take() {
                Some(since) => self.pace.postpone(now.saturating_sub(since)),
                None => self.paused = Some(now),
            },
        }
        self.report(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use common::clock::milliseconds;

    use super::*;

    /// The end of a minute.
    const fn end(minute: i64) -> i64 {
        (minute + 1) * 60_000
    }

    fn pacer(speed: &str, live: Option<Clock>) -> (Pacer, Handle, CancellationToken) {
        let ((remote, handle), stop) = (remote(), CancellationToken::new());
        let pace = Pace::new(speed.parse().unwrap(), end(0));
        (Pacer::new(pace, live, remote, stop.clone()), handle, stop)
    }

    /// When each minute was due, in milliseconds from the start.
    async fn due(pacer: &mut Pacer, minutes: impl IntoIterator<Item = i64>) -> Vec<u128> {
        let mut times = Vec::new();
        for minute in minutes {
            assert_eq!(pacer.until_due(end(minute)).await, Turn::Due);
            times.push(pacer.started.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn speed_600_sends_ten_minutes_per_second() {
        let (mut pacer, ..) = self::pacer("600", None);
        assert_eq!(
            due(&mut pacer, [0, 1, 2, 2, 10]).await,
            [0, 100, 200, 200, 1000]
        );
        let (mut pacer, ..) = self::pacer("max", None);
        assert_eq!(due(&mut pacer, 0..1000).await.last(), Some(&0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_minute_waits_until_it_has_closed() {
        // 00:03:30 of the first day: minutes 0 to 2 have closed, 3 closes after 30 s.
        let (started, clock) = (Instant::now(), Clock::fixed(210_000));
        let (mut pacer, ..) = pacer("600", Some(clock.clone()));
        let ticking = async {
            loop {
                sleep(Duration::from_millis(100)).await;
                clock.set_ms(210_000 + milliseconds(started.elapsed()));
            }
        };
        select! {
            biased;
            () = ticking => unreachable!("the clock never stops"),
            times = due(&mut pacer, 0..5) => assert_eq!(times, [0, 100, 200, 30_000, 90_000]),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_delays_the_rest_and_a_stop_ends_it() {
        let (mut pacer, handle, stop) = pacer("60", None);
        handle.commands.send(Command::TogglePause).await.unwrap();
        let keys = async {
            sleep(Duration::from_secs(5)).await;
            assert!(handle.progress.borrow().paused);
            handle.commands.send(Command::TogglePause).await.unwrap();
        };
        let (times, ()) = tokio::join!(due(&mut pacer, [0, 1]), keys);
        assert_eq!(times, [5000, 6000]);
        assert!(!handle.progress.borrow().paused);
        handle.commands.send(Command::TogglePause).await.unwrap();
        let (turn, ()) = tokio::join!(pacer.until_due(end(2)), async {
            sleep(Duration::from_secs(9)).await;
            stop.cancel();
        });
        assert_eq!(turn, Turn::Stopped);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_speed_applies_from_now_on() {
        let (mut pacer, handle, _) = pacer("60", None);
        assert_eq!(due(&mut pacer, [0, 1]).await, [0, 1000]);
        handle.commands.send(Command::Faster).await.unwrap();
        assert_eq!(due(&mut pacer, [2, 3]).await, [1500, 2000]);
        assert_eq!(handle.progress.borrow().speed, Speed::Times(120.0));
        handle.commands.send(Command::Slower).await.unwrap();
        drop(handle);
        assert_eq!(due(&mut pacer, [4]).await, [3000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_speed_keeps_the_pause() {
        let (mut pacer, handle, _) = pacer("60", None);
        assert_eq!(due(&mut pacer, [0]).await, [0]);
        let keys = async {
            handle.commands.send(Command::TogglePause).await.unwrap();
            sleep(Duration::from_secs(5)).await;
            handle.commands.send(Command::Slower).await.unwrap();
            sleep(Duration::from_secs(5)).await;
            handle.commands.send(Command::TogglePause).await.unwrap();
        };
        let (times, ()) = tokio::join!(due(&mut pacer, [1]), keys);
        assert_eq!(times, [12_000]);
    }
}
