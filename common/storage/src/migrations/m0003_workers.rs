//! The workers that are there, whose rows expire by an index.

use crate::error::StorageError;
use crate::{Store, indexes};

pub(super) async fn up(store: &Store) -> Result<(), StorageError> {
    indexes::apply(store).await
}
