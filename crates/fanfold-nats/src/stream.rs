//! Streams as they are: looked at, made and changed, by several nodes at once if need be.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, Info};

use crate::{Nats, RequestError};

impl Nats {
    /// `None` if there is no such stream.
    pub async fn stream(&self, name: &str) -> Result<Option<Info>, RequestError> {
        match self.api(&format!("STREAM.INFO.{name}"), &()).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is(ErrorCode::STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The stream of this name, whatever it is like, and whether this call made it.
    pub async fn stream_or_make(&self, wanted: &Config) -> Result<(Info, bool), RequestError> {
        if let Some(found) = self.stream(&wanted.name).await? {
            return Ok((found, false));
        }
        match self.api(&format!("STREAM.CREATE.{}", wanted.name), wanted).await {
            Ok(made) => Ok((made, true)),
            // Another node was faster, with another configuration.
            Err(error) if error.is(ErrorCode::STREAM_NAME_EXIST) => {
                self.stream(&wanted.name).await?.map(|found| (found, false)).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a stream that is there another configuration.
    pub async fn change_stream(&self, config: &Config) -> Result<Info, RequestError> {
        self.api(&format!("STREAM.UPDATE.{}", config.name), config).await
    }
}
