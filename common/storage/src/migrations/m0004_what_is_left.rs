//! Indexes that hold what is still to be done apart from what was: stopped campaigns that are not cleared
//! away, rows of the ledger that are in no sum.

use mongodb::bson::Document;
use mongodb::error::ErrorKind;

use crate::error::StorageError;
use crate::{Store, indexes, tallies};

pub(super) async fn up(store: &Store) -> Result<(), StorageError> {
    indexes::apply(store).await?;
    // The index of rows by notification alone, which is the beginning of the new one.
    let rows = store.collection::<Document>(tallies::COLLECTION);
    match rows.drop_index("notification").await {
        Err(error) if !is_gone_already(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// `IndexNotFound`.
fn is_gone_already(error: &mongodb::error::Error) -> bool {
    matches!(*error.kind, ErrorKind::Command(ref error) if error.code == 27)
}

#[cfg(test)]
mod tests {
    use mongodb::IndexModel;
    use mongodb::bson::doc;
    use mongodb::options::IndexOptions;

    use super::*;
    use crate::test_util::TestDatabase;

    #[tokio::test]
    async fn a_database_of_before_gets_the_new_indexes_and_loses_the_one_they_replace() {
        let database = TestDatabase::new().await;
        let rows = database.collection::<Document>(tallies::COLLECTION);
        rows.drop_index("open").await.expect("it was there");
        let stopped = database.collection::<Document>(crate::notifications::COLLECTION);
        let gone = stopped.drop_index(crate::notifications::STOPPED).await;
        gone.expect("it was there");
        let old = IndexModel::builder()
            .keys(doc! { "notification_id": 1 })
            .options(IndexOptions::builder().name("notification".to_owned()).build())
            .build();
        rows.create_index(old).await.expect("made");

        for _ in 0..2 {
            up(&database).await.expect("migrated");
            let mut names = rows.list_index_names().await.expect("listed");
            names.sort();
            assert_eq!(names, ["_id_", "open"]);
            let names = stopped.list_index_names().await.expect("listed");
            assert!(names.iter().any(|name| name == crate::notifications::STOPPED));
        }
    }
}
