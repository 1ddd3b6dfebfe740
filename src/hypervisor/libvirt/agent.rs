//! Questions to the agent in a guest. What it answers is outside input: sizes are capped, nothing in it is trusted.

use std::{
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use virt::domain::Domain;

use super::worker::Link;
use crate::hypervisor::{AgentAnswer, AgentQuestion, PlatformError};

/// An agent that is there answers within this.
const ANSWER_SECONDS: i32 = 5;
const LOOK: Duration = Duration::from_millis(100);
/// An answer beyond this is none that was asked for.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// What is read of a file at a time, and at most.
const READ_BYTES: u64 = 1 << 20;
const MAX_FILE_BYTES: u64 = 1 << 30;

pub fn ask(
    link: &Link,
    domain: &Domain,
    question: &AgentQuestion,
) -> Result<AgentAnswer, PlatformError> {
    match question {
        AgentQuestion::Ping => {
            command(link, domain, "guest-ping", &json!({}))?;
            Ok(AgentAnswer::Pong)
        }
        AgentQuestion::Run { argv, timeout } => run(link, domain, argv, *timeout),
        AgentQuestion::Sha256 { path } => sha256(link, domain, path).map(AgentAnswer::Sha256),
    }
}

fn command(
    link: &Link,
    domain: &Domain,
    name: &str,
    arguments: &Value,
) -> Result<Value, PlatformError> {
    link.beat()?;
    let asked = json!({"execute": name, "arguments": arguments}).to_string();
    let said = domain
        .qemu_agent_command(&asked, ANSWER_SECONDS, 0)
        .map_err(link.during(format!("guest agent, {name}")))?;
    answer(name, &said)
}

fn answer(name: &str, said: &str) -> Result<Value, PlatformError> {
    if said.len() > MAX_ANSWER_BYTES {
        return Err(failed(name, format!("{} bytes are too many", said.len())));
    }
    let mut said: Value =
        serde_json::from_str(said).map_err(|error| failed(name, error.to_string()))?;
    match said.get_mut("return") {
        Some(answer) => Ok(answer.take()),
        None => Err(failed(name, "an answer without a result".to_owned())),
    }
}

fn failed(name: &str, message: String) -> PlatformError {
    PlatformError::Failed {
        what: format!("guest agent, {name}"),
        message,
    }
}

fn bytes(name: &str, answer: &Value, field: &str) -> Result<Vec<u8>, PlatformError> {
    let text = answer
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default();
    STANDARD
        .decode(text)
        .map_err(|error| failed(name, error.to_string()))
}

fn run(
    link: &Link,
    domain: &Domain,
    argv: &[String],
    timeout: Duration,
) -> Result<AgentAnswer, PlatformError> {
    let Some((path, arguments)) = argv.split_first() else {
        return Err(failed("guest-exec", "no program is named".to_owned()));
    };
    let asked = json!({"path": path, "arg": arguments, "capture-output": true});
    let started = command(link, domain, "guest-exec", &asked)?;
    let Some(pid) = started.get("pid").and_then(Value::as_i64) else {
        return Err(failed("guest-exec", "it names no process".to_owned()));
    };
    let until = Instant::now() + timeout;
    loop {
        let name = "guest-exec-status";
        let status = command(link, domain, name, &json!({"pid": pid}))?;
        if status.get("exited").and_then(Value::as_bool) == Some(true) {
            let mut output = bytes(name, &status, "out-data")?;
            output.extend(bytes(name, &status, "err-data")?);
            // A program that a signal ended has no code; shells call that 128 and the signal.
            let signal = status.get("signal").and_then(Value::as_i64);
            let code = status.get("exitcode").and_then(Value::as_i64);
            return Ok(AgentAnswer::Ran {
                code: code.unwrap_or_else(|| 128 + signal.unwrap_or(0)),
                output: String::from_utf8_lossy(&output).into_owned(),
            });
        }
        if Instant::now() >= until {
            return Err(failed(
                "guest-exec",
                format!("{path} has not ended within {} s", timeout.as_secs()),
            ));
        }
        thread::sleep(LOOK);
    }
}

fn sha256(link: &Link, domain: &Domain, path: &str) -> Result<String, PlatformError> {
    let opened = command(
        link,
        domain,
        "guest-file-open",
        &json!({"path": path, "mode": "r"}),
    )?;
    let Some(handle) = opened.as_i64() else {
        return Err(failed("guest-file-open", "it gives no handle".to_owned()));
    };
    let sum = read_through(link, domain, handle);
    let closed = command(link, domain, "guest-file-close", &json!({"handle": handle}));
    let sum = sum?;
    closed.map(|_| sum)
}

fn read_through(link: &Link, domain: &Domain, handle: i64) -> Result<String, PlatformError> {
    let name = "guest-file-read";
    let mut hash = Sha256::new();
    let mut read = 0;
    while read <= MAX_FILE_BYTES {
        let asked = json!({"handle": handle, "count": READ_BYTES});
        let part = command(link, domain, name, &asked)?;
        let content = bytes(name, &part, "buf-b64")?;
        hash.update(&content);
        read += content.len() as u64;
        if content.is_empty() || part.get("eof").and_then(Value::as_bool) == Some(true) {
            return Ok(hex::encode(hash.finalize()));
        }
    }
    Err(failed(
        name,
        format!("the file is over {MAX_FILE_BYTES} bytes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert_eq!(answer("x", r#"{"return":{"pid":7}}"#).unwrap()["pid"], 7);
        for said in ["", "{", r#"{"error":{"desc":"no"}}"#, "[1]", "7"] {
            assert!(answer("x", said).is_err(), "{said}");
        }
        assert!(bytes("x", &json!({"out-data": "***"}), "out-data").is_err());
        assert_eq!(
            bytes("x", &json!({"out-data": "b2s="}), "out-data").unwrap(),
            b"ok"
        );
        assert_eq!(bytes("x", &json!({}), "out-data").unwrap(), b"");
    }
}
