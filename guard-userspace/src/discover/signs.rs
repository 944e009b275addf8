//! What a process shows of itself.

use serde::Serialize;

/// One reason to take a process for an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "what")]
pub enum Sign {
    /// Its program is a known agent.
    Program(String),
    /// An interpreter runs a known agent's package.
    Package(String),
    /// A variable that agents set for what they start, or a key for a model's API. Never the value.
    Environment(String),
    /// It is connected to a model's API.
    Connection(String),
}

impl Sign {
    pub(super) fn is_sure(&self) -> bool {
        match self {
            Self::Program(_) | Self::Package(_) | Self::Connection(_) => true,
            Self::Environment(name) => MARKS.contains(&name.as_str()),
        }
    }
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(name) => write!(f, "program {name}"),
            Self::Package(name) => write!(f, "package {name}"),
            Self::Environment(name) => write!(f, "variable {name}"),
            Self::Connection(name) => write!(f, "connected to {name}"),
        }
    }
}

/// File names of agents' programs.
const PROGRAMS: &[&str] = &[
    "aider",
    "amp",
    "claude",
    "codex",
    "copilot",
    "crush",
    "cursor-agent",
    "gemini",
    "goose",
    "interpreter",
    "kiro-cli",
    "opencode",
    "openhands",
    "qwen",
];

/// Packages by a part of a path, as an interpreter's arguments name them.
const NODE_PACKAGES: &[&str] = &[
    "@anthropic-ai/claude-agent-sdk",
    "@anthropic-ai/claude-code",
    "@github/copilot",
    "@google/gemini-cli",
    "@modelcontextprotocol/",
    "@openai/agents",
    "@openai/codex",
    "@qwen-code/qwen-code",
];

/// Packages by module name.
const PYTHON_PACKAGES: &[&str] = &[
    "aider",
    "autogen_agentchat",
    "claude_agent_sdk",
    "crewai",
    "langgraph",
    "openhands",
    "smolagents",
    "swe_agent",
    "sweagent",
];

/// Variables that agents set for what they start.
const MARKS: &[&str] =
    &["AIDER_MODEL", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CODEX_SANDBOX", "CURSOR_AGENT"];

/// Keys for models.
const KEYS: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AZURE_OPENAI_API_KEY",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "XAI_API_KEY",
];

/// Signs in a program's path, its arguments and its environment; the last two with a NUL behind each entry.
pub(super) fn of(exe: &[u8], argv: &[u8], environment: &[u8]) -> Vec<Sign> {
    let mut signs = Vec::new();
    let entries = |bytes: &[u8]| -> Vec<String> {
        bytes.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned()).collect()
    };
    let exe = String::from_utf8_lossy(exe).into_owned();
    let argv = entries(argv);
    // A script's own name is an argument of its interpreter.
    let scripts = argv.iter().skip(1).take(usize::from(is_interpreter(file_name(&exe))));
    let program =
        std::iter::once(&exe).chain(scripts).map(|path| file_name(path)).find(|name| PROGRAMS.contains(name));
    signs.extend(program.map(|name| Sign::Program(name.to_owned())));
    if is_interpreter(file_name(&exe)) {
        let packages = argv.iter().skip(1).take(8).filter_map(|argument| package(argument));
        signs.extend(packages.take(1).map(|name| Sign::Package(name.to_owned())));
    }
    let environment = entries(environment);
    let names = environment.iter().filter_map(|entry| entry.split_once('=')).map(|(name, _)| name);
    signs.extend(
        names
            .filter(|name| MARKS.contains(name) || KEYS.contains(name))
            .map(|name| Sign::Environment(name.to_owned())),
    );
    signs.sort();
    signs.dedup();
    signs
}

fn file_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    // What the kernel appends to the name of a file that has been replaced.
    name.strip_suffix(" (deleted)").unwrap_or(name)
}

fn is_interpreter(name: &str) -> bool {
    ["bun", "deno", "node", "python", "ruby", "uv"].iter().any(|known| {
        name.strip_prefix(known)
            .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    })
}

fn package(argument: &str) -> Option<&'static str> {
    let node = NODE_PACKAGES.iter().find(|name| argument.contains(&format!("node_modules/{name}")));
    let python = || PYTHON_PACKAGES.iter().find(|name| argument.split(['/', '.']).any(|part| part == **name));
    node.or_else(python).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(exe: &str, argv: &[&str], environment: &[&str]) -> Vec<String> {
        let entries = |list: &[&str]| list.iter().map(|entry| format!("{entry}\0")).collect::<String>();
        let signs = of(exe.as_bytes(), entries(argv).as_bytes(), entries(environment).as_bytes());
        signs.iter().map(Sign::to_string).collect()
    }

    #[test]
    fn agents_are_known_by_program_script_package_and_variable() {
        assert_eq!(said("/usr/local/bin/claude", &["claude"], &[]), ["program claude"]);
        assert_eq!(
            said("/usr/bin/python3.13", &["python3", "/usr/bin/aider"], &[]),
            ["program aider", "package aider"]
        );
        assert_eq!(said("/usr/bin/python3.13", &["python3", "-m", "crewai"], &[]), ["package crewai"]);
        let script = "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js";
        assert_eq!(said("/usr/bin/node", &["node", script], &[]), ["package @anthropic-ai/claude-code"]);
        assert_eq!(said("/usr/bin/bash", &["bash"], &["CLAUDECODE=1"]), ["variable CLAUDECODE"]);
    }

    #[test]
    fn others_are_not_and_a_key_alone_is_not_sure() {
        assert!(said("/usr/bin/vim", &["vim", "claude"], &["PATH=/claude"]).is_empty());
        assert!(said("/usr/bin/python3", &["python3", "train.py", "--name=raider"], &[]).is_empty());
        let signs = of(b"/usr/bin/bash", b"bash\0", b"OPENAI_API_KEY=sk-secret\0");
        assert_eq!(signs, [Sign::Environment("OPENAI_API_KEY".to_owned())]);
        assert!(!signs[0].is_sure() && !format!("{signs:?}").contains("secret"));
    }
}
