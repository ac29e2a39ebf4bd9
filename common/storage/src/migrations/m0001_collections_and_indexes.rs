//! The first shape: clustered collections, and every index of the list.

use crate::error::StorageError;
use crate::{Store, indexes};

pub(super) async fn up(store: &Store) -> Result<(), StorageError> {
    indexes::apply(store).await
}
