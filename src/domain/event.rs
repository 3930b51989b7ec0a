//! What became of environments, for those who watch, and who sees it.

use super::{
    ids::{EnvironmentId, OrganizationId, PrincipalId},
    principal::Actor,
};

/// What happened to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Somebody made it.
    Create,
    /// What is asked of it changed.
    Update,
    /// What became of it changed.
    UpdateStatus,
    /// It is no more.
    Delete,
}

/// Something that happened to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The environment's organization.
    pub organization_id: OrganizationId,
    /// Who made the environment.
    pub creator_id: PrincipalId,
    /// What happened.
    pub operation: Operation,
    /// To which.
    pub environment_id: EnvironmentId,
}

impl Event {
    /// Whether the actor may see it: members see what they made, admins all of the organization.
    #[must_use]
    pub fn is_visible_to(&self, actor: &Actor) -> bool {
        self.organization_id == actor.organization_id && (actor.is_admin() || self.creator_id == actor.principal_id)
    }
}

/// Some environments. A list that is empty names all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCondition {
    /// These.
    pub environment_ids: Vec<EnvironmentId>,
    /// Made by one of these.
    pub creator_ids: Vec<PrincipalId>,
}

/// Which events somebody watches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Those of this environment alone.
    pub scope: Option<EnvironmentId>,
    /// Those that match one of the conditions; all, if there is none.
    pub conditions: Vec<EventCondition>,
}

impl EventFilter {
    /// Whether it is watched for.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let is_met = |condition: &EventCondition| {
            has(&condition.environment_ids, event.environment_id) && has(&condition.creator_ids, event.creator_id)
        };
        self.scope.is_none_or(|scope| scope == event.environment_id)
            && (self.conditions.is_empty() || self.conditions.iter().any(is_met))
    }

    /// The environments that are named, each once.
    #[must_use]
    pub fn named(&self) -> Vec<EnvironmentId> {
        let mut named: Vec<_> = match self.scope {
            Some(scope) => vec![scope],
            None => self.conditions.iter().flat_map(|condition| condition.environment_ids.iter().copied()).collect(),
        };
        named.sort_unstable();
        named.dedup();
        named
    }
}

fn has<T: PartialEq>(list: &[T], one: T) -> bool {
    list.is_empty() || list.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(environment_id: EnvironmentId, creator_id: PrincipalId) -> Event {
        let organization_id = OrganizationId::generate();
        Event { organization_id, creator_id, operation: Operation::Update, environment_id }
    }

    #[test]
    fn events_match_one_condition_whole() {
        let (environment, other) = (EnvironmentId::generate(), EnvironmentId::generate());
        let (creator, stranger) = (PrincipalId::generate(), PrincipalId::generate());
        let filter = EventFilter {
            scope: None,
            conditions: vec![
                EventCondition { environment_ids: vec![environment], creator_ids: vec![creator] },
                EventCondition { environment_ids: vec![other], creator_ids: vec![] },
            ],
        };
        assert!(filter.matches(&event(environment, creator)));
        assert!(!filter.matches(&event(environment, stranger)), "half of one condition");
        assert!(filter.matches(&event(other, stranger)));
        assert!(EventFilter::default().matches(&event(other, stranger)));
    }

    #[test]
    fn a_scope_holds_whatever_the_conditions_name() {
        let (environment, other, creator) =
            (EnvironmentId::generate(), EnvironmentId::generate(), PrincipalId::generate());
        let conditions = vec![EventCondition { environment_ids: vec![other, environment], creator_ids: vec![] }];
        let filter = EventFilter { scope: Some(environment), conditions };
        assert!(filter.matches(&event(environment, creator)));
        assert!(!filter.matches(&event(other, creator)));
        assert_eq!(filter.named(), [environment]);
    }
}
