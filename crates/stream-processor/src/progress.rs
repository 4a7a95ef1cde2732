//! Progress of a replay: a bar on a terminal, log records elsewhere. The bar is on stderr, so stdout stays
//! free.

use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use prometheus::IntCounter;
use tokio::sync::watch;
use tokio::time::interval;
use tracing::info;

use crate::controls::KEYS;
use crate::pacer::Progress;

const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress forever, as a bar on stderr (removed when this is dropped) or as log records. It counts
/// acknowledged messages.
pub(crate) async fn show(
    progress: watch::Receiver<Progress>,
    acknowledged: IntCounter,
    on_terminal: bool,
    keys: bool,
) {
    if on_terminal {
        draw(progress, acknowledged, keys).await;
    } else {
        log(progress, acknowledged).await;
    }
}

async fn draw(progress: watch::Receiver<Progress>, acknowledged: IntCounter, keys: bool) {
    let bar = ProgressBar::no_length();
    let mut timer = interval(REDRAW_INTERVAL);
    loop {
        timer.tick().await;
        let now = *progress.borrow();
        if bar.position() == 0 {
            bar.set_style(style(now.expected.is_some(), keys));
            now.expected.inspect(|expected| bar.set_length(*expected));
        }
        bar.set_position(acknowledged.get());
        bar.set_message(message(&now));
        bar.tick();
    }
}

fn style(has_end: bool, keys: bool) -> ProgressStyle {
    let measure = if has_end {
        "{wide_bar:.cyan/blue} {human_pos}/{human_len} messages  {rate}  eta {eta}"
    } else {
        "{human_pos} messages  {rate}"
    };
    let keys = if keys {
        format!("\n{KEYS}")
    } else {
        String::new()
    };
    ProgressStyle::with_template(&format!("{{msg}}  {measure}{keys}"))
        .expect("the template is valid")
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            // Writing to the text of the bar cannot fail.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        })
}

fn message(progress: &Progress) -> String {
    let minute = progress
        .minute
        .map_or_else(|| "waiting".to_owned(), |minute| minute.to_string());
    let state = if progress.paused {
        "paused".to_owned()
    } else {
        format!("x{}", progress.speed)
    };
    format!("{minute}  {state}")
}

async fn log(progress: watch::Receiver<Progress>, acknowledged: IntCounter) {
    let mut timer = interval(LOG_INTERVAL);
    timer.tick().await;
    let mut before = 0;
    loop {
        timer.tick().await;
        let (now, done) = (*progress.borrow(), acknowledged.get());
        // A live replay sends once a minute; a record without news would be noise.
        let Some(minute) = now.minute.filter(|_| done != before) else {
            continue;
        };
        let per_second = (done - before) / LOG_INTERVAL.as_secs();
        let eta_s = now
            .expected
            .map(|expected| (expected - done) / per_second.max(1));
        info!(%minute, acknowledged = done, expected = now.expected, per_second, eta_s, "replaying");
        before = done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_minute_and_state() {
        let mut progress = Progress::default();
        assert_eq!(message(&progress), "waiting  x600");
        progress.minute = Some("2025-07-12 13:45".parse().unwrap());
        progress.paused = true;
        assert_eq!(message(&progress), "2025-07-12T13:45:00Z  paused");
    }

    #[test]
    fn every_style_is_a_valid_template() {
        for (has_end, with_keys) in [(true, true), (true, false), (false, true), (false, false)] {
            let _ = style(has_end, with_keys);
        }
    }
}
