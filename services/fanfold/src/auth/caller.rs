//! Who asks, and what they may: one gate for every transport.

use std::sync::Arc;

use fanfold_fold::{SessionId, TenantId};

/// Whoever is behind a request, on any transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose sessions.
    pub tenant: TenantId,
    /// Who, as the authenticator names them.
    pub subject: Arc<str>,
    /// In which role.
    pub role: Role,
    /// Which sessions.
    pub grants: Grants,
    /// Seconds since 1970 when the token ends; `None` where there is no token.
    pub expires_at_s: Option<u64>,
}

/// What kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and takes part.
    User,
    /// Calls the model and appends what it says.
    Worker,
    /// Everything within the tenant.
    Admin,
}

/// Which of the tenant's sessions a caller may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// All of them.
    All,
    /// These.
    Sessions(Vec<SessionId>),
}

/// Everything that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See which sessions there are.
    List,
    /// Open a session.
    Open,
    /// Read state, events, deltas and presence.
    Read,
    /// Say that one is there or typing.
    Appear,
    /// Add messages, ask for runs, steer, decide on tools, title, custom events.
    Take,
    /// Stop a run.
    Cancel,
    /// Close a session for good.
    Close,
    /// Remove a session's content.
    Erase,
    /// Start runs and append what a model says.
    Work,
    /// See what is parked and let it be tried again.
    Operate,
}

impl Action {
    /// Every action, for the table in docs/operations.md and its test.
    pub const ALL: [Self; 10] = [
        Self::List,
        Self::Open,
        Self::Read,
        Self::Appear,
        Self::Take,
        Self::Cancel,
        Self::Close,
        Self::Erase,
        Self::Work,
        Self::Operate,
    ];
}

/// The caller may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not in this role.
    #[error("the role does not allow it")]
    Role,
    /// Not with this session.
    #[error("the session is not among those granted")]
    Session,
}

/// The one gate. Every request on every transport passes it before anything is looked up.
pub fn authorize(caller: &Caller, action: Action, session: Option<&SessionId>) -> Result<(), Denied> {
    if !role_allows(caller.role, action) {
        return Err(Denied::Role);
    }
    match (&caller.grants, session) {
        (Grants::All, _) => Ok(()),
        (Grants::Sessions(granted), Some(session)) if granted.contains(session) => Ok(()),
        // A caller with single sessions sees the list of none.
        (Grants::Sessions(_), Some(_) | None) => Err(Denied::Session),
    }
}

/// Whether there can be a session that the caller may do this with. Each is then asked for by itself.
pub fn authorize_some(caller: &Caller, action: Action) -> Result<(), Denied> {
    match &caller.grants {
        Grants::All => authorize(caller, action, None),
        Grants::Sessions(granted) => granted.iter().try_fold((), |(), session| authorize(caller, action, Some(session))),
    }
}

/// The table of who may what.
fn role_allows(role: Role, action: Action) -> bool {
    match (role, action) {
        (Role::Admin, _) => true,
        (Role::Viewer, Action::List | Action::Read | Action::Appear) => true,
        (
            Role::Viewer,
            Action::Open | Action::Take | Action::Cancel | Action::Close | Action::Erase | Action::Work | Action::Operate,
        ) => false,
        (
            Role::User,
            Action::List | Action::Open | Action::Read | Action::Appear | Action::Take | Action::Cancel | Action::Close,
        ) => true,
        (Role::User, Action::Erase | Action::Work | Action::Operate) => false,
        (Role::Worker, Action::Read | Action::Work | Action::Cancel) => true,
        (
            Role::Worker,
            Action::List | Action::Open | Action::Appear | Action::Take | Action::Close | Action::Erase | Action::Operate,
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role, grants: Grants) -> Caller {
        Caller { tenant: TenantId::default(), subject: "s".into(), role, grants, expires_at_s: None }
    }

    #[test]
    fn each_role_may_what_its_row_says() {
        // In the order of `ALL`: List Open Read Appear Take Cancel Close Erase Work Operate.
        let rows =
            [(Role::Viewer, "1011000000"), (Role::User, "1111111000"), (Role::Worker, "0010010010"), (Role::Admin, "1111111111")];
        for (role, row) in rows {
            let caller = caller(role, Grants::All);
            let may: String =
                Action::ALL.iter().map(|action| if authorize(&caller, *action, None).is_ok() { '1' } else { '0' }).collect();
            assert_eq!(may, row, "{role:?}");
        }
    }

    #[test]
    fn the_table_of_the_documentation_says_the_same() {
        let documented = include_str!("../../../../docs/operations.md").lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
            let name = cells[0].trim_end_matches('`').to_owned();
            let yes: Vec<bool> = cells.get(2..6)?.iter().map(|cell| *cell == "yes").collect();
            Action::ALL.iter().any(|action| format!("{action:?}") == name).then_some((name, yes))
        });
        let roles = [Role::Viewer, Role::User, Role::Worker, Role::Admin];
        let expected = Action::ALL.map(|action| (format!("{action:?}"), roles.map(|role| role_allows(role, action)).to_vec()));
        assert_eq!(documented.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_grant_reaches_as_far_as_its_sessions() {
        let (mine, other): (SessionId, SessionId) = ("mine".parse().unwrap(), "other".parse().unwrap());
        let caller = caller(Role::User, Grants::Sessions(vec![mine.clone()]));
        assert_eq!(authorize(&caller, Action::Read, Some(&mine)), Ok(()));
        assert_eq!(authorize(&caller, Action::Read, Some(&other)), Err(Denied::Session));
        assert_eq!(authorize(&caller, Action::List, None), Err(Denied::Session));
        assert_eq!(authorize(&caller, Action::Erase, Some(&mine)), Err(Denied::Role));
    }
}
