//! One value of every node, shared until it is changed.

use std::sync::Arc;

use super::Row;

#[derive(Clone, Debug)]
pub(super) struct Column<T>(Arc<Vec<T>>);

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Default> Column<T> {
    /// The value of a node.
    pub(super) fn get(&self, row: Row) -> Option<&T> {
        self.0.get(row.0)
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of a node, to be changed: copies the column if a snapshot still looks at it.
    pub(super) fn at(&mut self, row: Row) -> &mut T {
        let values = Arc::make_mut(&mut self.0);
        if values.len() <= row.0 {
            values.resize_with(row.0 + 1, T::default);
        }
        let Some(value) = values.get_mut(row.0) else { unreachable!("the column is long enough") };
        value
    }
}

impl Column<i64> {
    /// The number of a node, 0 if it has none.
    pub(super) fn number(&self, row: Row) -> i64 {
        self.0.get(row.0).copied().unwrap_or_default()
    }
}
