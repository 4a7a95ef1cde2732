//! The address of the running service, its API, and what may be expected of it now.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// An answer takes longer only where something is wrong.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of a request that is not answered, on a busy machine.
const MAX_TRIES: u32 = 5;

/// What a probe finds while nothing changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// `None` while it is not running, starting or stopping.
    pub(crate) url: Option<String>,
    /// The disk may be full.
    pub(crate) may_be_unready: bool,
    /// Changes with each of them.
    pub(crate) generation: u64,
}

pub(crate) struct Site {
    client: reqwest::Client,
    expected: Mutex<Expected>,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        common::install_tls_provider();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            // The service may close an idle connection at the moment of its next request.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            client,
            expected: Mutex::default(),
        })
    }

    pub(crate) fn expected(&self) -> Expected {
        self.expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Expected)) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.generation += 1;
        change(&mut expected);
    }

    pub(crate) fn url(&self, path: &str) -> Result<String> {
        match self.expected().url {
            Some(url) => Ok(url + path),
            None => bail!("the service is not running"),
        }
    }

    pub(crate) async fn status(&self, path: &str) -> Result<u16> {
        Ok(self
            .client
            .get(self.url(path)?)
            .send()
            .await?
            .status()
            .as_u16())
    }

    /// Tries again without an answer: what matters here is what the service says. Probes check that it answers.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match self.client.get(self.url(path)?).send().await {
                Ok(answer) => break answer,
                Err(error) if tries == MAX_TRIES => return Err(error.into()),
                Err(_) => {}
            }
        };
        ensure!(answer.status() == 200, "GET {path}: {}", answer.status());
        Ok(answer.json().await?)
    }

    /// Every entry of a list, page by page.
    pub(crate) async fn list(&self, path: &str, member: &str) -> Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut page = self
                .get(&format!("{path}{separator}limit=500{cursor}"))
                .await?;
            let Some(Value::Array(entries)) = page.get_mut(member).map(Value::take) else {
                bail!("GET {path} has no list {member}");
            };
            all.extend(entries);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// POSTs without a body: the status of the answer.
    pub(crate) async fn post(&self, path: &str) -> Result<u16> {
        Ok(self
            .client
            .post(self.url(path)?)
            .send()
            .await?
            .status()
            .as_u16())
    }

    /// POSTs JSON: the status of the answer.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Result<u16> {
        let request = self.client.post(self.url(path)?).json(body);
        Ok(request.send().await?.status().as_u16())
    }

    /// Submits an anomalous count: the status of the answer, and the id of the record.
    pub(crate) async fn submit(&self, stream: &str, count: u32) -> Result<(u16, Option<String>)> {
        let body = serde_json::json!({"stream": stream, "status": "failed", "count": count});
        let request = self.client.post(self.url("/alerts/evaluate")?).json(&body);
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let record = answer.json::<Value>().await?;
        Ok((status, record["record_id"].as_str().map(str::to_owned)))
    }
}
