//! stub
#[derive(Default, Clone)]
pub struct MasterKeys;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OpenError;
impl MasterKeys {
    /// stub
    pub fn seal(&self, _context: &str, plain: &[u8]) -> String {
        hex::encode(plain)
    }
    /// stub
    pub fn open(&self, _context: &str, sealed: &str) -> Result<Vec<u8>, OpenError> {
        hex::decode(sealed).map_err(|_| OpenError)
    }
}
