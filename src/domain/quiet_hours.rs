//! stub
/// stub
#[derive(Debug, Clone)]
pub struct QuietHours;
impl QuietHours {
    /// stub
    pub fn until(&self, _number: &str, _now: u64) -> Option<u64> {
        None
    }
}
