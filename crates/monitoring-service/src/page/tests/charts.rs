//! Charts of a long range lose no spike, no alert and no incident.

use detection::{Minute, MonitoredStatus, PolicyName, Severity};

use crate::{
    routes::harness::{Api, after_a_burst, minute, now},
    store::{ChartFilter, Charts},
};

/// A burst of `denied` at 15:00, then a hole of ten minutes, then ten usual minutes.
fn with_a_hole() -> Api {
    let mut api = after_a_burst();
    api.consume_usual("default", now().plus(21), 10);
    api
}

async fn charts(api: &Api, from: Minute, minutes: i64, step_minutes: i64) -> Charts {
    let filter = ChartFilter {
        stream: "default".to_owned(),
        policy: PolicyName::ZScore,
        from,
        to: from.plus(minutes),
        step_minutes,
        max_alerts: 0,
    };
    let usual = |judgement: &detection::Judgement| judgement.evidence()?.usual_range(3.0);
    api.state.store.charts(filter, usual).await.unwrap()
}

#[tokio::test]
async fn a_step_keeps_its_extremes_and_its_worst_alert() {
    let api = with_a_hole();
    let charts = charts(&api, minute("2025-07-12T14:40:00Z"), 60, 30).await;
    let [first, second] = charts.spans[MonitoredStatus::Denied.index()][..] else {
        panic!("{charts:?}")
    };
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.low, first.high, first.worst), (5, 40, now()));
    assert_eq!(first.alert, Some(Severity::Critical));
    assert!(
        first
            .usual
            .is_some_and(|(low, high)| low < 6.0 && high > 6.0 && high < 40.0)
    );
    assert_eq!((second.low, second.high, second.alert), (5, 7, None));
    assert_eq!((charts.alert_count, charts.alerts.len()), (1, 0));
    let [(opened, ended)] = charts.incidents[..] else {
        panic!("{charts:?}")
    };
    assert!(opened <= now() && now() < ended);
}

#[tokio::test]
async fn a_step_without_a_minute_is_unknown() {
    let api = with_a_hole();
    let charts = charts(&api, now().plus(-9), 30, 10).await;
    for spans in &charts.spans {
        let known: Vec<_> = spans.iter().map(Option::is_some).collect();
        assert_eq!(known, [true, false, true]);
    }
}
