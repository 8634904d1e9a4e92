//! placeholder
/// placeholder
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub struct TypeRef(pub(crate) u16);
/// placeholder
#[derive(Debug)]
pub struct Schema;
/// placeholder
pub fn schema() -> &'static Schema {
    &Schema
}
impl Schema {
    /// placeholder
    pub fn type_of(&self, _group: &str, _version: &str, _kind: &str) -> Option<TypeRef> {
        None
    }
}
