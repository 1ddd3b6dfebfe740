//! HTTP requests from code that is not async.

use std::{io, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::problem::Problem;

/// Must not be used from inside an async task.
pub struct Client {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Client {
    /// # Errors
    /// When the machine gives no timer or poller.
    pub fn new() -> Result<Self, Problem> {
        let failed = |why: String| {
            Problem::failed(
                "HTTP could not be set up.",
                why,
                "Close other programs and try again.",
            )
        };
        Ok(Self {
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| failed(error.to_string()))?,
            client: client().map_err(|error| failed(error.to_string()))?,
        })
    }

    /// Status and body.
    ///
    /// # Errors
    /// When there is no answer within `limit`.
    pub fn get(&self, url: &str, limit: Duration) -> io::Result<(u16, String)> {
        self.runtime.block_on(async {
            let answer = self
                .client
                .get(url)
                .timeout(limit)
                .send()
                .await
                .map_err(io::Error::other)?;
            let status = answer.status().as_u16();
            Ok((status, answer.text().await.map_err(io::Error::other)?))
        })
    }
}

/// # Errors
/// When the client cannot be built.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // One connection a request, as many small clients would; a kept one would pin to one server.
    crate::validation::prober::choose_tls();
    reqwest::Client::builder().pool_max_idle_per_host(0).build()
}
