//! Who did what, written down before it is answered: a line in the log, and an entry in the store.
//!
//! Everything that a caller has had done comes through here, so that neither can be forgotten; what is written down, and
//! what is not, is told in [`crate::domain::audit`]. A message, a wish, preferences, a decision on a reply or on traffic and
//! the calling off of a batch or a message have their entry stored in the step that stores them, and their line is written right
//! after it ([`log`]). For all others, the line is written first: so it is there even where the store then fails to take the entry.

use std::sync::Arc;

use super::{Core, Scope, scope::scoped};
use crate::{
    domain::{
        Organization, UnixMs,
        audit::{Action, Entry, Masked, Place, RecordedEntry, Subject, place_before},
    },
    store::{self, audit::ENTRIES_MAX},
};

/// Entries that one page looks through for those that pass its filter; a page may end early and still have a next.
const LOOKED_THROUGH_MAX: usize = 10 * ENTRIES_MAX;

/// Writes down who did what.
pub struct Audit {
    core: Arc<Core>,
}

scoped!(Audit);

impl Audit {
    /// The service.
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Those of this agent, as it is written.
    pub actor: Option<String>,
    /// Those of this action.
    pub action: Option<Action>,
    /// Those of this time or later.
    pub since: Option<UnixMs>,
    /// Those before this time.
    pub until: Option<UnixMs>,
}

impl EntryFilter {
    fn passes(&self, entry: &RecordedEntry) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == entry.agent)
            && self.action.is_none_or(|action| action.as_str() == entry.action)
    }
}

impl Scope<'_, Audit> {
    /// Writes `entry` down. What it tells of must not be acknowledged before this returns.
    pub async fn record(&self, entry: Entry) -> Result<(), store::Error> {
        record(&self.core, self.organization, &entry).await
    }

    /// The entries that pass `filter` after `after`, oldest first, at most `limit` of them; and where to go on, if there may
    /// be more.
    pub async fn entries(
        &self,
        filter: &EntryFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<(Vec<(Place, RecordedEntry)>, Option<Place>), store::Error> {
        let since = place_before(filter.since.unwrap_or(UnixMs::EPOCH));
        let mut after = after.map_or(since, |after| after.max(since));
        let (mut entries, mut looked_through) = (Vec::new(), 0);
        while looked_through < LOOKED_THROUGH_MAX {
            // One more than wanted tells whether there is a next page.
            let wanted = (limit - entries.len() + 1).clamp(READ_MIN, ENTRIES_MAX);
            let page = self.core.store.entries(self.organization, after, wanted).await?;
            let is_last = page.len() < wanted;
            for (place, entry) in page {
                if filter.until.is_some_and(|until| place.ms >= until) {
                    return Ok((entries, None));
                }
                if filter.passes(&entry) {
                    if entries.len() == limit {
                        return Ok((entries, Some(after)));
                    }
                    entries.push((place, entry));
                }
                after = place;
                looked_through += 1;
            }
            if is_last {
                return Ok((entries, None));
            }
        }
        Ok((entries, Some(after)))
    }
}

/// Entries that are read in one go, at least, when few are wanted: a filter may let few of them pass.
const READ_MIN: usize = 100;

/// Writes down that `entry` was done, for services that [`Audit`] itself is not given to.
pub(super) async fn record(
    core: &Core,
    organization: &Organization,
    entry: &Entry,
) -> Result<(), store::Error> {
    log(organization, entry);
    core.store.add_entry(organization, entry).await
}

/// Writes the line of `entry`.
pub(super) fn log(organization: &Organization, entry: &Entry) {
    let (mut id, mut message_sid, mut batch, mut user, mut sid) = (None, None, None, None, None);
    let mut numbers = None;
    let mut phone = entry.facts.phone.as_ref().map(Masked::as_str);
    match &entry.subject {
        Some(Subject::Message(of)) => id = Some(of.as_str()),
        Some(Subject::MessageSid(of)) => message_sid = Some(of.as_str()),
        Some(Subject::Batch(of)) => batch = Some(of.as_str()),
        Some(Subject::Person(of)) => phone = Some(of.as_str()),
        Some(Subject::User(of)) => user = Some(of.as_str()),
        Some(Subject::ApiKey(of)) => sid = Some(of.as_str()),
        Some(Subject::Numbers(of)) => numbers = Some(of.as_str()),
        None => {}
    }
    let facts = &entry.facts;
    tracing::info!(
        event = "audit", action = entry.action.as_str(), %organization, actor = %entry.agent,
        id, message_sid, batch, phone, user, sid, numbers,
        channel = facts.channel, state = facts.state, source = facts.source, decision = facts.decision,
        sms_enabled = facts.sms_enabled, whatsapp_enabled = facts.whatsapp_enabled,
        number_changed = facts.number_changed, fields = facts.fields, verification = facts.verification,
        account_sid = facts.account_sid, name = facts.name, role = facts.role,
        accepted = facts.accepted, rejected = facts.rejected, canceled = facts.canceled,
        users = facts.users, queued = facts.queued, lines = facts.lines, imported = facts.imported, unchanged = facts.unchanged,
        kept = facts.kept, for_s = facts.for_s, "{}", entry.action.sentence()
    );
}
