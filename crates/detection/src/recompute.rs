//! Folds stored minutes with other settings, to show the findings they would give. It changes nothing that is stored.

use crate::{
    history::ObservedMinute,
    message::MinuteCounts,
    minute::Minute,
    monitor::{Monitor, Observed, StoredStream},
    settings::MonitorSettings,
    stream::Stream,
};

/// Observes the minutes from `from` on, oldest first, without an active cooldown. `minutes` are in order of time, newest first. Those
/// before `from` only fill the windows ([`MonitorSettings::history_capacity`] of them) and train the policy `adaptive`
/// ([`MAX_LEARNED_MINUTES`](crate::detector::adaptive::MAX_LEARNED_MINUTES)).
pub fn recompute(
    settings: MonitorSettings,
    stream: &Stream,
    minutes: Vec<ObservedMinute>,
    from: Minute,
) -> impl Iterator<Item = Observed> {
    let (before, range): (Vec<_>, Vec<_>) = minutes
        .into_iter()
        .rev()
        .partition(|observed| observed.minute < from);
    let mut monitor = Monitor::new(settings);
    let stored = StoredStream {
        minutes: before,
        ..StoredStream::default()
    };
    monitor.restore(stream.clone(), stored);
    let stream = stream.clone();
    range.into_iter().map(move |observed| {
        monitor.observe(MinuteCounts::of_observed(stream.clone(), &observed), &[])
    })
}
