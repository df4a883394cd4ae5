//! What a message is about, in the caller's words. Any word may be given; these mean something.

/// Messages that advertise.
pub const MARKETING: &str = "marketing";

/// Messages that neither cooldown nor quiet hours hold back, and that go before all others.
pub const EMERGENCY: &str = "emergency";

/// Messages that a person gets because of something that they do with the sender.
const TRANSACTIONAL: [&str; 5] =
    ["workflow_approval", "task_assignment", "inspection_reminder", "user_invitation", EMERGENCY];

/// Whether a message of `category` surely advertises nothing.
pub fn is_transactional(category: Option<&str>) -> bool {
    category.is_some_and(|category| TRANSACTIONAL.contains(&category))
}
