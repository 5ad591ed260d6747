//! `GET /problems` and `GET /problems/{name}`: problems for people. `type` of a problem leads to its page.
//!
//! # Promise
//! A page shows its own style, and loads, sends and runs nothing. It depends on nothing but its address.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use crate::http::contract::{ELSEWHERE, operations};
use crate::model::{Error, Kind, Problem};

/// `GET /problems/{name}`
pub async fn page(Path(name): Path<String>) -> Response {
    let Some(problem) = Problem::ALL.iter().find(|problem| problem.name() == name).copied() else {
        return Error::new(Problem::NotFound, "there is no such problem; /problems lists them").into_response();
    };
    let content = format!(
        "<nav><a href=\"/problems\">All problems</a></nav><h1>{}</h1><p class=\"status\">Status {}, <code>{name}</code></p>\
         <h2>What to do</h2><p>{}</p><h2>Sending it again</h2><p>{}</p><h2>What is answered with it</h2>{}",
        escape(problem.title()),
        status(problem),
        marked(problem.advice()),
        marked(reaction(problem.kind())),
        answered_with(problem),
    );
    html(problem.title(), &content)
}

/// `GET /problems`
pub async fn pages() -> Response {
    let mut problems = Problem::ALL.to_vec();
    problems.sort_by_key(|problem| problem.status());
    let row = |problem: &Problem| {
        let (number, name, title) = (problem.status(), problem.name(), escape(problem.title()));
        format!(
            "<tr><td>{number}</td><td><a href=\"/problems/{name}\">{title}</a></td><td><code>{name}</code></td></tr>"
        )
    };
    let content = format!(
        "<h1>Problems</h1><p>What this server answers when it cannot do what was asked. The last part of <code>type</code> in \
         the answer is the name here; its <code>detail</code> says more.</p><table><thead><tr><th>Status</th><th>What \
         happened</th><th>Name</th></tr></thead><tbody>{}</tbody></table><p><a href=\"/openapi.json\">/openapi.json</a> says \
         which requests can meet which.</p>",
        problems.iter().map(row).collect::<String>()
    );
    html("Problems", &content)
}

/// `409 Conflict`.
fn status(problem: Problem) -> String {
    let reason = StatusCode::from_u16(problem.status()).ok().and_then(|status| status.canonical_reason());
    reason.map_or(problem.status().to_string(), |reason| format!("{} {reason}", problem.status()))
}

/// What the kind of problem means for whoever would send the request again.
fn reaction(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::Denied | Kind::NotFound | Kind::Conflict => {
            "The same request is answered in the same way, until something has been changed."
        }
        Kind::Gone => "The answer stays what it is, for ever.",
        Kind::Busy | Kind::Unavailable => {
            "The same request may succeed later. 'Retry-After' says after how many seconds to try it."
        }
        Kind::Integrity => "The same request is answered in the same way, until somebody has repaired what is stored.",
        Kind::Internal => "The same request may succeed.",
    }
}

/// The operations that can meet it, as the document lists them.
fn answered_with(problem: Problem) -> String {
    if let Some((_, reason)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == problem) {
        return format!("<p>No operation of its own: it {}.</p>", escape(reason));
    }
    let met = operations().filter(|operation| operation.problems.iter().any(|problems| problems.contains(&problem)));
    let items = met.map(|operation| {
        format!("<li><code>{} {}</code>: {}</li>", operation.method, operation.path, escape(operation.summary))
    });
    format!("<ul>{}</ul>", items.collect::<String>())
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2.5rem auto;padding:0 1rem}\
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.05rem;margin:1.8rem 0 .3rem}p{margin:.3rem 0}\
.status{opacity:.75}code{font:.92em ui-monospace,monospace;background:#8882;border-radius:.25em;padding:.1em .3em}\
ul{padding-left:1.2rem;margin:.3rem 0}li{margin:.25rem 0}table{border-collapse:collapse;margin:1.2rem 0;width:100%}\
td code{white-space:nowrap}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #8884}";

/// A page that may show its own style, and load, send and run nothing.
fn html(title: &str, content: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{} - callvault</title><style>{STYLE}</style>\
         <main>{content}</main></html>",
        escape(title)
    );
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy.as_str())];
    (headers, page).into_response()
}

/// What stands between single quotes, as code. The apostrophe of a word is none.
fn marked(text: &str) -> String {
    let mut marked = String::new();
    let mut rest = text;
    while let Some((before, quoted, after)) = next_quoted(rest) {
        marked += &format!("{}<code>{}</code>", escape(before), escape(quoted));
        rest = after;
    }
    marked + &escape(rest)
}

fn next_quoted(text: &str) -> Option<(&str, &str, &str)> {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut quotes = text.match_indices('\'').map(|(at, _)| at);
    let open = quotes.find(|at| !is_word(text[..*at].chars().next_back()))?;
    let close = quotes.find(|at| !is_word(text[at + 1..].chars().next()))?;
    Some((&text[..open], &text[open + 1..close], &text[close + 1..]))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::marked;

    #[test]
    fn what_is_quoted_becomes_code_and_an_apostrophe_stays_one() {
        let text = "The tenant's slug: 'callvault set <SLUG>'. It's the user's, as 'x' says";

        let expected =
            "The tenant's slug: <code>callvault set &lt;SLUG&gt;</code>. It's the user's, as <code>x</code> says";
        assert_eq!(marked(text), expected);
    }
}
