//! SARIF 2.1.0, so that code scanning shows what is not met.
//!
//! Every judged item is a rule; failures are errors, warnings warnings, unknowns and notes notes. A finding has no line of
//! a file, so its place is logical: the item.

use serde_json::{Value, json};

use crate::checklist::items::find;
use crate::checklist::outcome::Status;
use crate::checklist::report::{Finding, Report};

/// The report as SARIF.
pub fn sarif(report: &Report) -> Value {
    let rule = |finding: &Finding| {
        let category = find(&finding.item).map_or(finding.category.as_str(), |item| item.category.as_str());
        json!({
            "id": finding.item,
            "name": name(&finding.item),
            "shortDescription": {"text": finding.title},
            "helpUri": finding.runbook,
            "properties": {"tags": [category]},
        })
    };
    let result = |(index, finding): (usize, &Finding)| {
        let (kind, level) = match finding.status {
            Status::Fail => ("fail", "error"),
            Status::Warn => ("fail", "warning"),
            Status::Unknown => ("open", "none"),
            Status::Info => ("informational", "none"),
            Status::Attested | Status::Pass => ("pass", "none"),
            Status::Skipped => ("notApplicable", "none"),
        };
        let text = if finding.reason.is_empty() { &finding.title } else { &finding.reason };
        json!({
            "ruleId": finding.item,
            "ruleIndex": index,
            "kind": kind,
            "level": level,
            "message": {"text": text},
            "locations": [{"logicalLocations": [{
                "name": finding.item,
                "fullyQualifiedName": format!("{}/{}", finding.category, finding.item),
                "kind": "resource",
            }]}],
            "partialFingerprints": {"item/v1": finding.item},
            "properties": {"status": finding.status.as_str(), "evidence": finding.evidence},
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rivetwatch check",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": report.findings.iter().map(rule).collect::<Vec<_>>(),
            }},
            "invocations": [{"executionSuccessful": true, "endTimeUtc": report.at}],
            "columnKind": "unicodeCodePoints",
            "results": report.findings.iter().enumerate().map(result).collect::<Vec<_>>(),
        }],
    })
}

/// `image-pinned` as `ImagePinned`, which scanners show as the name of a rule.
fn name(id: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    id.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::render::tests_support::report;

    #[test]
    fn results_point_at_their_rules() {
        let sarif = sarif(&report());
        let run = &sarif["runs"][0];
        let (rules, results) = (run["tool"]["driver"]["rules"].as_array().unwrap(), run["results"].as_array().unwrap());
        assert_eq!((rules.len(), results.len()), (4, 4));
        for (i, result) in results.iter().enumerate() {
            assert_eq!((result["ruleIndex"].as_u64(), &result["ruleId"]), (Some(i as u64), &rules[i]["id"]));
        }
        let levels: Vec<&str> = results.iter().filter_map(|r| r["level"].as_str()).collect();
        assert_eq!(levels, ["none", "error", "none", "none"]);
        assert_eq!(rules[1]["name"], "PeerPortClosed");
    }
}
