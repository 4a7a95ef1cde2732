//! What a person chooses at a stream: the range, the policy, and a count to explain without a mouse.

use detection::{Detector, Minute, MonitoredStatus};
use maud::{Markup, html};
use strum::{EnumString, IntoStaticStr};
use utoipa::openapi::{ObjectBuilder, schema::Type};

use super::stream::Shown;
use crate::routes::{AppState, parameters::values};

/// A range that ends with the newest minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
pub(crate) enum Length {
    #[strum(serialize = "1h")]
    Hour,
    #[strum(serialize = "6h")]
    Hours,
    #[strum(serialize = "24h")]
    Day,
    #[strum(serialize = "7d")]
    Week,
}

impl Length {
    const ALL: [Self; 4] = [Self::Hour, Self::Hours, Self::Day, Self::Week];

    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    pub(super) const fn minutes(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::Hours => 360,
            Self::Day => 1440,
            Self::Week => 10_080,
        }
    }
}

values! {
    Length: ObjectBuilder::new().schema_type(Type::String),
        |text: &str| text.parse().map_err(|_| "is not the length of a range".to_owned()),
        "use 1h, 6h, 24h or 7d";
}

/// The choices. `asked`: the count that is explained.
pub(super) fn choice(
    state: &AppState,
    shown: &Shown,
    asked: Option<(Minute, MonitoredStatus)>,
) -> Markup {
    html! {
        nav class="ranges" aria-label="Range" {
            @for last in Length::ALL {
                a href=(format!("?last={}&policy={}", last.name(), shown.policy))
                    aria-current=[(shown.last == Some(last)).then_some("true")] { (last.name()) }
            }
            details { summary { "from–to" } (from_to(shown)) }
            details { summary { "explain a count" } (explain(shown, asked)) }
            (policies(state, shown))
        }
    }
}

/// The value of an input for minutes.
fn local(minute: Minute) -> String {
    minute.to_string().get(..16).unwrap_or_default().to_owned()
}

fn from_to(shown: &Shown) -> Markup {
    html! {
        form {
            label for="from" { "From (UTC)" }
            input id="from" name="from" type="datetime-local" value=(local(shown.from));
            label for="to" { "To (UTC)" }
            input id="to" name="to" type="datetime-local" value=(local(shown.to));
            input type="hidden" name="policy" value=(shown.policy);
            button { "Show" }
        }
    }
}

fn explain(shown: &Shown, asked: Option<(Minute, MonitoredStatus)>) -> Markup {
    let minute = asked.map_or(shown.stream.newest_minute, |(minute, _)| minute);
    html! {
        form action="#explanation" {
            label for="minute" { "Minute (UTC)" }
            input id="minute" name="minute" type="datetime-local" required value=(local(minute));
            label for="status" { "Status" }
            select id="status" name="status" {
                @for status in MonitoredStatus::ALL {
                    option value=(status) selected[asked.is_some_and(|(_, asked)| asked == status)] { (status) }
                }
            }
            @match shown.last {
                Some(last) => input type="hidden" name="last" value=(last.name());,
                None => {
                    input type="hidden" name="from" value=(local(shown.from));
                    input type="hidden" name="to" value=(local(shown.to));
                }
            }
            input type="hidden" name="policy" value=(shown.policy);
            button { "Explain" }
        }
    }
}

fn policies(state: &AppState, shown: &Shown) -> Markup {
    let policies: Vec<_> = state.monitor.detectors().map(Detector::policy).collect();
    let range = shown.last.map_or_else(
        || format!("from={}&to={}", shown.from, shown.to),
        |last| format!("last={}", last.name()),
    );
    html! {
        @if policies.len() > 1 {
            span class="dim" { "policy" }
            @for policy in policies {
                a href=(format!("?{range}&policy={policy}")) aria-current=[(shown.policy == policy).then_some("true")] { (policy) }
            }
        }
    }
}
