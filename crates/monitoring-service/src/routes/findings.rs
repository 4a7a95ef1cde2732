//! The JSON of a count's judgement in all answers. Alerts have their own ([`AlertView`](crate::alerts::json)).

use detection::{Direction, Evidence, Judgement, PolicyName, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::schema;
use crate::alerts::json::BaselineView;

/// The finding of a count; for a count that was not evaluated, the state with the reason.
#[derive(Serialize, ToSchema)]
pub(super) struct Finding {
    #[schema(value_type = schema::StateName)]
    state: State,
    #[schema(value_type = Option<schema::Policy>)]
    policy: Option<PolicyName>,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<Direction>,
    z_score: Option<f64>,
    /// The limit that was exceeded.
    threshold: Option<f64>,
    baseline: Option<BaselineView>,
}

impl From<&Judgement> for Finding {
    fn from(judgement: &Judgement) -> Self {
        let evidence = judgement.evidence();
        Self {
            state: judgement.state(),
            policy: evidence.map(Evidence::policy),
            direction: judgement.direction(),
            z_score: judgement.score(),
            threshold: judgement.finding().and_then(|finding| finding.threshold),
            baseline: evidence
                .and_then(Evidence::baseline)
                .map(BaselineView::from),
        }
    }
}
