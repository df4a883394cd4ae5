//! stub
/// stub
#[derive(Debug, Clone, Default)]
pub struct Pace;
impl Pace {
    /// stub
    pub fn per_segment(&self, _sender: &str) -> std::time::Duration {
        std::time::Duration::from_millis(5)
    }
}
