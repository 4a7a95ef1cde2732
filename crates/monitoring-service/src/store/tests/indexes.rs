//! The indexes that SQLite uses for what is asked often.

use detection::{MonitoredStatus, PolicyName, Severity};
use rusqlite::Connection;

use super::{open_file, raw};
use crate::{
    alerts::Origin,
    store::{
        AlertFilter, DeliveryFilter, DeliveryState, alerts, attempts, incidents, minutes, outbox,
        ranges, rows,
    },
};

fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .expect(sql);
    // Parameters that are not bound are NULL, which does not change the plan.
    let lines = statement
        .raw_query()
        .mapped(|row| row.get::<_, String>(3))
        .collect::<Result<Vec<_>, _>>();
    lines.expect(sql).join("; ")
}

#[test]
fn frequent_queries_use_indexes() {
    let (store, _folder) = open_file();
    let connection = raw(&store);
    let plan = |sql: &str| plan(&connection, sql);
    let known = [
        minutes::OBSERVED_MINUTES,
        "SELECT * FROM alerts WHERE stream = 'a' AND policy = 1 AND status_id = 1 ORDER BY seq DESC LIMIT 1",
        "SELECT * FROM alerts WHERE stream = 'a' AND policy = 1 ORDER BY seq DESC LIMIT 1",
        alerts::recording::PRIOR_SUBMISSION,
    ];
    let ranges = [ranges::TOTALS, rows::OLDER].map(str::to_owned);
    let of_policies = PolicyName::ALL.into_iter().flat_map(|policy| {
        let both = [false, true];
        let series = both.map(|of_one| ranges::series_statement(policy, of_one));
        let rows = both.map(|of_one| rows::statement(policy, of_one));
        let states = ranges::states_statement(policy);
        series.into_iter().chain(rows).chain([states])
    });
    let known = known
        .into_iter()
        .map(str::to_owned)
        .chain([attempts::due_statement(false)]);
    for sql in known.chain(ranges).chain(of_policies) {
        let plan = plan(&sql);
        assert!(
            plan.contains("SEARCH") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{sql}: {plan}"
        );
    }
}

#[test]
fn the_last_alert_of_each_stream_is_found_by_an_index() {
    let (store, _folder) = open_file();
    let plan = plan(&raw(&store), &alerts::last_of_each_statement());
    assert!(
        plan.contains("SEARCH last USING INDEX alerts_by_stream_policy (stream=? AND policy=?)")
            && !plan.contains("SCAN alerts")
            && !plan.contains("SCAN last"),
        "{plan}"
    );
}

#[test]
fn the_streams_of_open_incidents_are_found_by_their_index() {
    let (store, _folder) = open_file();
    let plan = plan(&raw(&store), incidents::reading::OPEN_STREAMS);
    assert!(plan.contains("incidents_open"), "{plan}");
}

/// Sets the filters of a case.
type Change = fn(&mut AlertFilter);

/// Asserts that a list is read in order through this index.
fn assert_lists_by(sql: &Connection, statement: &str, index: &str) {
    let plan = plan(sql, statement);
    assert!(
        plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP"),
        "{statement}: {plan}"
    );
}

#[test]
fn every_list_uses_the_index_of_its_first_filter() {
    let (store, _folder) = open_file();
    let sql = raw(&store);
    let filters: [(&str, Change); 13] = [
        ("alerts_by_policy", |f| {
            f.policy = Some(PolicyName::Adaptive);
        }),
        ("INTEGER PRIMARY KEY", |_| {}),
        ("alerts_of_stream", |f| f.stream = Some("a".into())),
        ("alerts_by_status", |f| {
            f.status = Some(MonitoredStatus::Denied);
        }),
        ("alerts_by_severity", |f| {
            f.severity = Some(Severity::Warning);
        }),
        ("alerts_from_evaluate", |f| {
            f.origin = Some(Origin::Evaluate);
        }),
        ("alerts_from_monitor", |f| f.origin = Some(Origin::Monitor)),
        ("INTEGER PRIMARY KEY", |f| f.origin = Some(Origin::Stream)),
        ("alerts_notified", |f| f.notified = Some(true)),
        ("alerts_suppressed", |f| f.notified = Some(false)),
        ("alerts_by_status", |f| {
            all(f);
            (f.stream, f.origin) = (None, None);
        }),
        ("alerts_from_evaluate", |f| {
            all(f);
            f.stream = None;
        }),
        ("alerts_of_stream", all),
    ];
    for (index, change) in filters {
        let mut filter = AlertFilter::default();
        change(&mut filter);
        assert_lists_by(&sql, &alerts::list_statement(&filter), index);
    }
    for (stream, state, index) in [
        (None, None, "deliveries USING INTEGER PRIMARY KEY"),
        (
            None,
            Some(DeliveryState::Pending),
            "deliveries_pending_by_id",
        ),
        (None, Some(DeliveryState::Dead), "deliveries_dead"),
        (
            None,
            Some(DeliveryState::Superseded),
            "deliveries_superseded",
        ),
        (
            None,
            Some(DeliveryState::Summarized),
            "deliveries_summarized",
        ),
        (Some("a".to_owned()), None, "deliveries_by_stream"),
        (
            Some("a".to_owned()),
            Some(DeliveryState::Dead),
            "deliveries_by_stream",
        ),
    ] {
        let filter = DeliveryFilter {
            stream,
            state,
            ..DeliveryFilter::default()
        };
        assert_lists_by(&sql, &outbox::list_statement(&filter), index);
    }
}

/// Every filter at once.
fn all(filter: &mut AlertFilter) {
    filter.stream = Some("a".into());
    filter.status = Some(MonitoredStatus::Denied);
    filter.severity = Some(Severity::Warning);
    filter.origin = Some(Origin::Evaluate);
    filter.notified = Some(false);
}
