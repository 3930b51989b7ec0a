//! Classes of environments: what there is to choose from.

use uuid::Uuid;

use crate::domain::{
    ids::{ClassId, RunnerId},
    page::{InvalidPage, Key, numbers},
};

/// A class of environments: how much each may use, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentClass {
    /// Names it.
    pub id: ClassId,
    /// What its environments run on.
    pub runner_id: RunnerId,
    /// What people call it.
    pub display_name: String,
    /// What it is for.
    pub description: String,
    /// Processor time a second of time, in thousandths of a processor.
    pub cpu_millicores: i32,
    /// Memory, in bytes.
    pub memory_bytes: i64,
    /// Processes and threads at once.
    pub processes: i32,
    /// Disk, in bytes.
    pub disk_bytes: i64,
    /// Whether it is taken when a request names none.
    pub is_default: bool,
    /// Whether environments can be made of it.
    pub enabled: bool,
}

/// Where a class stands in the list of classes: smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassKey {
    cpu_millicores: i32,
    memory_bytes: i64,
    id: Uuid,
}

/// Which classes are asked for. An empty list, and nothing where there may be something, ask for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassFilter {
    /// On which runners.
    pub runner_ids: Vec<RunnerId>,
    /// Enabled ones, or those that are not.
    pub enabled: Option<bool>,
    /// Those that environments can be made of, or those that they cannot be made of.
    pub can_create_environments: Option<bool>,
}

impl EnvironmentClass {
    /// Where it stands in the list.
    #[must_use]
    pub const fn key(&self) -> ClassKey {
        ClassKey { cpu_millicores: self.cpu_millicores, memory_bytes: self.memory_bytes, id: self.id.uuid() }
    }
}

impl ClassFilter {
    /// Whether a class matches every condition.
    #[must_use]
    pub fn matches(&self, class: &EnvironmentClass) -> bool {
        // Whoever is of the organization can create environments of every class that is enabled.
        let can_create_environments = class.enabled;
        (self.runner_ids.is_empty() || self.runner_ids.contains(&class.runner_id))
            && self.enabled.is_none_or(|wanted| wanted == class.enabled)
            && self.can_create_environments.is_none_or(|wanted| wanted == can_create_environments)
    }
}

impl Key for ClassKey {
    /// 56 hexadecimal digits: none of these tokens is one of another list.
    fn token(&self) -> String {
        format!("{:08x}{:016x}{:032x}", self.cpu_millicores, self.memory_bytes, self.id.as_u128())
    }

    fn parse(token: &str) -> Result<Self, InvalidPage> {
        let unknown = |_| InvalidPage::UnknownToken;
        let [cpu_millicores, memory_bytes, id] = numbers(token, [8, 16, 32])?;
        Ok(Self {
            cpu_millicores: i32::try_from(cpu_millicores).map_err(unknown)?,
            memory_bytes: i64::try_from(memory_bytes).map_err(unknown)?,
            id: Uuid::from_u128(id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::page::{PageKey, PageRequest};

    #[test]
    fn a_token_leads_to_where_it_was_given_in_this_list_alone() {
        let key = ClassKey { cpu_millicores: 1000, memory_bytes: 2 << 30, id: Uuid::from_u128(7) };
        assert_eq!(ClassKey::parse(&key.token()), Ok(key));
        assert_eq!(PageRequest::<PageKey>::parse(0, &key.token()), Err(InvalidPage::UnknownToken));
        let other = PageKey { created_at_micros: 1, id: Uuid::from_u128(7) };
        let below_zero = "f".repeat(56);
        for bad in ["x", &other.token(), &below_zero, &key.token().replace('7', "g")] {
            assert_eq!(ClassKey::parse(bad), Err(InvalidPage::UnknownToken), "{bad}");
        }
    }

    #[test]
    fn classes_are_in_order_by_size_and_then_by_id() {
        let key = |cpu_millicores, memory_bytes, id| ClassKey { cpu_millicores, memory_bytes, id: Uuid::from_u128(id) };
        let in_order = [key(1, 9, 9), key(2, 1, 9), key(2, 2, 1), key(2, 2, 2)];
        assert!(in_order.is_sorted());
    }
}
