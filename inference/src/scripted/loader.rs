//! Opens paths as scripted models.

use std::sync::Arc;

use async_trait::async_trait;

use super::ScriptedModel;
use crate::{DeviceBudget, Model, ModelCard, ModelError, ModelLoader, ModelSource, ProgressSink};

/// A loader that opens every path, and needs no file there.
#[derive(Debug, Clone, Copy)]
pub struct ScriptedLoader(fn(ScriptedModel) -> ScriptedModel);

impl ScriptedLoader {
    /// Its models echo.
    pub const fn echo() -> Self {
        Self(|model| model)
    }

    /// Its models are what `rules` makes of one that echoes.
    pub const fn with_rules(rules: fn(ScriptedModel) -> ScriptedModel) -> Self {
        Self(rules)
    }
}

#[async_trait]
impl ModelLoader for ScriptedLoader {
    async fn inspect(&self, source: ModelSource) -> Result<ModelCard, ModelError> {
        Ok(ScriptedModel::echo(source.id).card().clone())
    }

    async fn load(
        &self,
        source: ModelSource,
        _: Arc<DeviceBudget>,
        _: ProgressSink,
    ) -> Result<Arc<dyn Model>, ModelError> {
        Ok((self.0)(ScriptedModel::echo(source.id)).into_model())
    }
}
