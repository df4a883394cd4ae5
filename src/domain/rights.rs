//! Whose word on a person's consent counts.
//!
//! A person who has said no has the last word: only they take it back, since whoever else records a wish has heard of it
//! second-hand. An administrator who can show that the person agreed again may record so; a colleague, a file or Twilio
//! may not. Everyone may record a further no, which never makes a person's own any weaker.

use super::{
    Right, Role,
    consent::{ChannelConsent, ConsentSource, ConsentState},
};

/// Who asks for a change of consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The person, with a reply from their own phone or on the page that a link of theirs leads to.
    Person,
    /// The person as a user, on the page of their own preferences.
    User,
    /// Who sets the service up.
    Administrator {
        /// They say what shows that the person wants it.
        has_evidence: bool,
    },
    /// Who may send, and no more.
    Sender,
    /// A line of a file.
    File,
    /// An error or an event of Twilio's.
    Twilio,
}

/// What a request for a change of consent on one channel comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The change is made.
    Allowed,
    /// The person has said so already. Nothing changes: another's record would be the weaker one.
    SaidByPerson,
    /// The person has said no, and it is not for this actor to take it back.
    OptedOutByPerson,
}

impl Actor {
    /// The actor whom a caller of `role` is when recording somebody's wish.
    pub fn of(role: Role, has_evidence: bool) -> Self {
        if role.may(Right::Administer) { Actor::Administrator { has_evidence } } else { Actor::Sender }
    }

    /// The actor whom a caller of `role` is when changing preferences.
    pub fn of_preferences(role: Role) -> Self {
        if role.may(Right::Administer) { Actor::Administrator { has_evidence: false } } else { Actor::User }
    }

    /// Whether the actor may take back an opt-out that came from `source`.
    fn may_undo(self, source: ConsentSource) -> bool {
        match self {
            Actor::Person | Actor::Administrator { has_evidence: true } => true,
            // What was said on a page is taken back on a page. What was said by phone is taken back by phone, and what an
            // administrator recorded, most often the person's word too, by an administrator.
            Actor::User => matches!(source, ConsentSource::Preferences | ConsentSource::Link),
            Actor::Administrator { has_evidence: false } | Actor::Sender | Actor::File | Actor::Twilio => {
                !source.is_the_persons()
            }
        }
    }
}

/// Whether `actor` may make `wish` of what is `known` on a channel.
pub fn judge(known: &ChannelConsent, actor: Actor, wish: ConsentState) -> Verdict {
    let (ConsentState::OptedOut, Some(source)) = (known.state, known.source) else {
        return Verdict::Allowed;
    };
    match wish {
        ConsentState::OptedOut if actor == Actor::Person || !source.is_the_persons() => Verdict::Allowed,
        ConsentState::OptedOut => Verdict::SaidByPerson,
        ConsentState::OptedIn | ConsentState::Unknown | ConsentState::Review => {
            if actor.may_undo(source) {
                Verdict::Allowed
            } else {
                Verdict::OptedOutByPerson
            }
        }
    }
}

/// The source under which a file's line is recorded that claims to be from `claimed`: a file cannot show that a person
/// opted in, while an opt-out keeps all the weight that it claims.
pub fn source_of_file(claimed: ConsentSource, wish: ConsentState) -> ConsentSource {
    let is_opt_out = wish == ConsentState::OptedOut;
    if claimed.is_the_persons() && !is_opt_out { ConsentSource::Import } else { claimed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCES: [ConsentSource; 12] = [
        ConsentSource::Keyword,
        ConsentSource::Phrase,
        ConsentSource::OptOutType,
        ConsentSource::Twilio21610,
        ConsentSource::Twilio63014,
        ConsentSource::Twilio63033,
        ConsentSource::Link,
        ConsentSource::ReviewExpired,
        ConsentSource::ReassignedNumber,
        ConsentSource::Api,
        ConsentSource::Import,
        ConsentSource::Preferences,
    ];

    const ACTORS: [Actor; 7] = [
        Actor::Person,
        Actor::User,
        Actor::Administrator { has_evidence: true },
        Actor::Administrator { has_evidence: false },
        Actor::Sender,
        Actor::File,
        Actor::Twilio,
    ];

    fn opted_out(source: ConsentSource) -> ChannelConsent {
        ChannelConsent { state: ConsentState::OptedOut, source: Some(source), ..ChannelConsent::default() }
    }

    #[test]
    fn an_opt_out_is_undone_by_whom_it_belongs_to() {
        use ConsentSource::{Api, Keyword, Link, Preferences, ReassignedNumber};
        let may_undo = |source| ACTORS.map(|actor| actor.may_undo(source));
        assert_eq!(may_undo(Keyword), [true, false, true, false, false, false, false]);
        assert_eq!(may_undo(ReassignedNumber), [true, false, true, false, false, false, false]);
        assert_eq!(may_undo(Link), [true, true, true, false, false, false, false]);
        assert_eq!(may_undo(Preferences), [true, true, true, true, true, true, true]);
        assert_eq!(may_undo(Api), [true, false, true, true, true, true, true]);
    }

    #[test]
    fn a_caller_acts_by_role() {
        assert_eq!(Actor::of(Role::Developer, true), Actor::Administrator { has_evidence: true });
        assert_eq!(Actor::of(Role::Sender, true), Actor::Sender);
        assert_eq!(Actor::of_preferences(Role::Admin), Actor::Administrator { has_evidence: false });
        for role in [Role::Sender, Role::Viewer, Role::User] {
            assert_eq!(Actor::of_preferences(role), Actor::User);
        }
    }

    proptest! {
        #[test]
        fn nobody_else_takes_back_or_weakens_what_a_person_said(
            steps in prop::collection::vec((0..ACTORS.len(), 0..SOURCES.len(), any::<bool>()), 0..40),
        ) {
            let mut known = ChannelConsent::default();
            for (actor, source, is_opt_out) in steps {
                let (actor, source) = (ACTORS[actor], SOURCES[source]);
                let wish = if is_opt_out { ConsentState::OptedOut } else { ConsentState::OptedIn };
                let said_by_person = known.state == ConsentState::OptedOut
                    && known.source.is_some_and(ConsentSource::is_the_persons);
                let link = known.source == Some(ConsentSource::Link);
                let verdict = judge(&known, actor, wish);
                match actor {
                    Actor::Person | Actor::Administrator { has_evidence: true } => {
                        prop_assert_ne!(verdict, Verdict::OptedOutByPerson);
                    }
                    Actor::User if link && !is_opt_out => prop_assert_eq!(verdict, Verdict::Allowed),
                    Actor::User
                    | Actor::Administrator { has_evidence: false }
                    | Actor::Sender
                    | Actor::File
                    | Actor::Twilio => prop_assert!(!said_by_person || verdict != Verdict::Allowed),
                }
                if is_opt_out {
                    prop_assert_ne!(verdict, Verdict::OptedOutByPerson);
                }
                if verdict == Verdict::Allowed {
                    known = ChannelConsent { state: wish, source: Some(source), ..ChannelConsent::default() };
                }
                prop_assert!(!is_opt_out || known.state == ConsentState::OptedOut);
            }
        }

        #[test]
        fn a_file_claims_an_opt_out_of_a_person_and_never_an_opt_in(source in 0..SOURCES.len()) {
            let claimed = SOURCES[source];
            prop_assert_eq!(source_of_file(claimed, ConsentState::OptedOut), claimed);
            prop_assert!(!source_of_file(claimed, ConsentState::OptedIn).is_the_persons());
            prop_assert_eq!(judge(&opted_out(claimed), Actor::Person, ConsentState::OptedIn), Verdict::Allowed);
        }
    }
}
