//! What the program is made of, in CycloneDX 1.5: every crate that is compiled into it, with its licence and where
//! it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{paths, run};

const PROGRAM: &str = "guard-userspace";

pub(super) fn write(version: &str, epoch: u64) -> Result<String> {
    let mut cargo = Command::new("cargo");
    run::clean_env(&mut cargo).current_dir(paths::root());
    cargo.args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    let text = run::quiet("list the crates", &mut cargo)?;
    let metadata: Value = serde_json::from_str(&text).context("read the list of crates")?;
    let list = list(&metadata, version, epoch)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
}

fn list(metadata: &Value, version: &str, epoch: u64) -> Result<Value> {
    let items = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> = items(&metadata["packages"])
        .into_iter()
        .filter_map(|package| Some((package["id"].as_str()?.to_owned(), package)))
        .collect();
    let nodes: BTreeMap<String, Vec<String>> = items(&metadata["resolve"]["nodes"])
        .into_iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), needs(&node))))
        .collect();
    let program = packages
        .iter()
        .find(|(_, package)| package["name"] == PROGRAM)
        .map(|(id, _)| id.clone())
        .context("the workspace has no program")?;
    let (mut reached, mut next) = (BTreeSet::new(), vec![program.clone()]);
    while let Some(id) = next.pop() {
        if reached.insert(id.clone()) {
            next.extend(nodes.get(&id).into_iter().flatten().cloned());
        }
    }
    let name = |id: &String| packages.get(id).map(reference).unwrap_or_default();
    let mut components: Vec<Value> = reached
        .iter()
        .filter(|id| **id != program)
        .filter_map(|id| packages.get(id))
        .map(|package| {
            json!({
                "type": "library",
                "bom-ref": reference(package),
                "name": package["name"],
                "version": package["version"],
                "licenses": [{ "expression": package["license"].as_str().unwrap_or("NOASSERTION").replace('/', " OR ") }],
                "purl": reference(package),
            })
        })
        .collect();
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = reached
        .iter()
        .map(|id| {
            let mut on: Vec<String> = nodes.get(id).into_iter().flatten().map(name).collect();
            on.sort();
            json!({ "ref": name(id), "dependsOn": on })
        })
        .collect();
    dependencies.sort_by_key(|entry| entry["ref"].to_string());
    let main =
        json!({ "type": "application", "bom-ref": name(&program), "name": "guard", "version": version });
    let metadata = json!({
        "component": main,
        "properties": [{ "name": "source-date-epoch", "value": epoch.to_string() }],
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What a crate is compiled with; not what its tests or its build script need.
fn needs(node: &Value) -> Vec<String> {
    let normal = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let list = node["deps"].as_array().into_iter().flatten();
    list.filter(normal).filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned)).collect()
}

fn reference(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_compiled_in_is_listed() {
        let package =
            |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let dependency = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package(PROGRAM), package("in"), package("test-only"), package("elsewhere")],
            "resolve": { "nodes": [
                { "id": PROGRAM, "deps": [dependency("in", Value::Null), dependency("test-only", json!("dev"))] },
                { "id": "in", "deps": [] },
                { "id": "elsewhere", "deps": [] },
            ] },
        });
        let list = list(&metadata, "1.0.0", 7).unwrap();
        let names: Vec<_> =
            list["components"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, ["in"]);
        assert_eq!(list["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }
}
