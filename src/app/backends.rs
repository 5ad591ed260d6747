//! Which catalog a vault has, by its setting.

use std::sync::Arc;

use super::AppError;
use crate::catalog::CatalogError;
use crate::catalog::SharedCatalog;
use crate::catalog::postgres::{OpenError, Postgres};
use crate::catalog::sqlite::Sqlite;
use crate::config::{CatalogPlace, Config};

/// Opens the catalog; makes one where there is none.
pub(super) async fn make_catalog(config: &Config) -> Result<SharedCatalog, AppError> {
    Ok(match &config.catalog {
        CatalogPlace::Sqlite(path) => Arc::new(Sqlite::open(path)?),
        CatalogPlace::Postgres(settings) => Arc::new(Postgres::open(settings).await?),
    })
}

/// Opens a catalog that must be there.
pub(super) async fn open_catalog(config: &Config) -> Result<SharedCatalog, AppError> {
    match &config.catalog {
        CatalogPlace::Sqlite(path) if !path.exists() => Err(not_initialised(config)),
        CatalogPlace::Sqlite(path) => Ok(Arc::new(Sqlite::open_existing(path)?)),
        CatalogPlace::Postgres(settings) => match Postgres::open_existing(settings).await {
            Err(CatalogError::Unavailable(source)) if matches!(source.downcast_ref(), Some(OpenError::Missing(_))) => {
                Err(not_initialised(config))
            }
            opened => Ok(Arc::new(opened?)),
        },
    }
}

pub(super) fn not_initialised(config: &Config) -> AppError {
    AppError::NotInitialised(match &config.catalog {
        CatalogPlace::Sqlite(_) => config.data_dir.display().to_string(),
        CatalogPlace::Postgres(settings) => settings.place(),
    })
}
