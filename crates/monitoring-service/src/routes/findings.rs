//! The JSON of a count's judgement in all answers. Alerts have their own ([`AlertView`](crate::alerts::json)).

use detection::{Direction, Evidence, Judgement, PolicyName, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::schema;
use crate::alerts::json::EvidenceView;

/// The finding of a count; for a count that was not evaluated, the state with the reason.
#[derive(Serialize, ToSchema)]
pub(super) struct Finding {
    #[schema(value_type = schema::StateName)]
    state: State,
    #[schema(value_type = Option<schema::Policy>)]
    policy: Option<PolicyName>,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<Direction>,
    #[serde(flatten)]
    evidence: EvidenceView,
    /// The limit that was exceeded.
    threshold: Option<f64>,
}

impl From<&Judgement> for Finding {
    fn from(judgement: &Judgement) -> Self {
        let evidence = judgement.evidence();
        Self {
            state: judgement.state(),
            policy: evidence.map(Evidence::policy),
            direction: judgement.direction(),
            evidence: EvidenceView::new(evidence, judgement.score()),
            threshold: judgement.finding().and_then(|finding| finding.threshold),
        }
    }
}
