//! Waits until a minute is due: the schedule of `replay` against the clock, with pauses, changes of speed and the stop signal. Sends nothing.

use std::time::Duration;

use detection::Minute;
use jiff::Timestamp;
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::replay::{Pace, Speed};

/// The wall clock may be set while a minute is waited for: it is looked at this often.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// Where the time of day comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system.
    System,
    /// A time of day at an instant of tokio's clock, which tests can stop.
    Fixed(Timestamp, Instant),
}

impl Clock {
    /// A clock that shows this time now.
    pub fn starting_at(time: Timestamp) -> Self {
        Self::Fixed(time, Instant::now())
    }

    /// The time of day.
    pub fn now(self) -> Timestamp {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the edge where the time comes from"
            )]
            Self::System => Timestamp::now(),
            Self::Fixed(time, since) => time + since.elapsed(),
        }
    }
}

/// What a person at the keys (or a program in their place) can ask for; a stop is the cancellation of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Pause, or go on.
    TogglePause,
    /// Twice as fast.
    Faster,
    /// Half as fast.
    Slower,
}

/// Where a replay is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The newest minute that was sent.
    pub minute: Option<Minute>,
    /// Messages handed to Kafka so far.
    pub sent: u64,
    /// Messages in all; `None` if there is no end.
    pub expected: Option<u64>,
    /// The present speed.
    pub speed: Speed,
    /// Waiting for [`Command::TogglePause`].
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

/// The replay's end of the wire to whoever watches and steers it.
#[derive(Debug)]
pub struct Remote {
    progress: watch::Sender<Progress>,
    commands: mpsc::Receiver<Command>,
}

/// The other end. Dropping it leaves the replay alone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where the replay is; changes with every message.
    pub progress: watch::Receiver<Progress>,
    /// Takes commands.
    pub commands: mpsc::Sender<Command>,
}

/// Both ends of a wire.
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

/// What the wait for a minute ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may be sent.
    Due,
    /// Nothing more may be sent.
    Stopped,
}

/// The wait before each minute.
pub(crate) struct Pacer {
    pace: Pace,
    /// Minutes are not sent before they closed by this clock.
    live: Option<Clock>,
    started: Instant,
    /// Since when, counted from the start.
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

    pub(crate) async fn until_due(&mut self, minute: Minute) -> Turn {
        loop {
            while let Ok(command) = self.remote.commands.try_recv() {
                self.obey(command, minute);
            }
            if self.stop.is_cancelled() {
                return Turn::Stopped;
            }
            let wait = self.wait(minute);
            if wait.is_zero() {
                return Turn::Due;
            }
            select! {
                () = self.stop.cancelled() => {}
                Some(command) = self.remote.commands.recv() => self.obey(command, minute),
                () = sleep(wait.min(MAX_SLEEP)) => {}
            }
        }
    }

    /// Tells the watchers what came of it.
    pub(crate) fn report(&self, change: impl FnOnce(&mut Progress)) {
        self.remote.progress.send_modify(|progress| {
            change(progress);
            (progress.speed, progress.paused) = (self.pace.speed(), self.paused.is_some());
        });
    }

    fn wait(&self, minute: Minute) -> Duration {
        if self.paused.is_some() {
            return Duration::MAX;
        }
        let until_closed = self.live.map_or(Duration::ZERO, |clock| {
            let left = minute.plus(1).start().duration_since(clock.now());
            left.try_into().unwrap_or(Duration::ZERO)
        });
        let due = self.pace.due(minute);
        // Without a wait there is no need to ask for the time: this is the path of `--speed max`.
        if due.is_zero() {
            until_closed
        } else {
            due.saturating_sub(self.started.elapsed()).max(until_closed)
        }
    }

    fn obey(&mut self, command: Command, next: Minute) {
        let now = self.started.elapsed();
        // While paused, the schedule stands still at the moment of the pause.
        let at = self.paused.unwrap_or(now);
        match command {
            Command::Faster => self.pace.change(self.pace.speed().faster(), next, at),
            Command::Slower => self.pace.change(self.pace.speed().slower(), next, at),
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
    use super::*;

    const fn at(minute: i64) -> Minute {
        Minute::from_epoch_minutes(minute)
    }

    fn pacer(speed: &str, live: Option<Clock>) -> (Pacer, Handle, CancellationToken) {
        let ((remote, handle), stop) = (remote(), CancellationToken::new());
        let pace = Pace::new(speed.parse().unwrap(), at(0));
        (Pacer::new(pace, live, remote, stop.clone()), handle, stop)
    }

    /// When, in milliseconds from the start, each minute was due.
    async fn due(pacer: &mut Pacer, minutes: impl IntoIterator<Item = i64>) -> Vec<u128> {
        let mut times = Vec::new();
        for minute in minutes {
            assert_eq!(pacer.until_due(at(minute)).await, Turn::Due);
            times.push(pacer.started.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn at_600_ten_minutes_pass_per_second_and_at_max_there_is_no_wait() {
        let (mut pacer, ..) = self::pacer("600", None);
        assert_eq!(
            due(&mut pacer, [0, 1, 2, 2, 10]).await,
            [0, 100, 200, 200, 1000]
        );
        let (mut pacer, ..) = self::pacer("max", None);
        assert_eq!(due(&mut pacer, 0..1000).await.last(), Some(&0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_minute_waits_for_its_end_by_the_clock_once_caught_up() {
        // 00:03:30 of the first day: minutes 0 to 2 have closed, 3 closes after 30 s.
        let clock = Clock::starting_at(Timestamp::from_second(210).unwrap());
        let (mut pacer, ..) = pacer("600", Some(clock));
        assert_eq!(due(&mut pacer, 0..5).await, [0, 100, 200, 30_000, 90_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_moves_what_follows_and_a_stop_ends_it() {
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
        let (turn, ()) = tokio::join!(pacer.until_due(at(2)), async {
            sleep(Duration::from_secs(9)).await;
            stop.cancel();
        });
        assert_eq!(turn, Turn::Stopped);
    }

    #[tokio::test(start_paused = true)]
    async fn the_keys_change_the_speed_from_the_present_on() {
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
    async fn a_change_of_speed_while_paused_does_not_lose_the_pause() {
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
