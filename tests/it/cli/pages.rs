//! Completions and manual pages.

use std::fs;
use std::process::{Command, Stdio};

use super::run;

#[test]
fn every_shell_gets_a_script_that_knows_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, stderr) = run(&["completions", shell]);
        assert_eq!((code, &*stderr), (0, ""), "{shell}");
        for word in [
            "healthcheck",
            "max-batch-size",
            "top-k",
            "precision",
            "completions",
        ] {
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
    }
    let (code, _, stderr) = run(&["completions", "tcsh"]);
    assert!(
        code == 2 && stderr.contains("bash, elvish, fish, powershell, zsh"),
        "{stderr}"
    );
}

#[test]
fn bash_completes_with_the_script() {
    let (_, script, _) = run(&["completions", "bash"]);
    let asked = r#"COMP_WORDS=(resnet classify --form); COMP_CWORD=2; _resnet resnet --form classify; echo "${COMPREPLY[@]}""#;
    let bash = Command::new("bash")
        .args(["-c", &format!("{script}\n{asked}")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let completed = String::from_utf8(bash.stdout).unwrap();
    assert_eq!(completed.trim(), "--format", "{:?}", bash.stderr);
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let (code, stdout, stderr) = run(&["man", "--dir", pages.to_str().unwrap()]);
    assert_eq!((code, &*stdout, &*stderr), (0, "", ""));
    let (_, help, _) = run(&["--help"]);
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|l| !l.is_empty())
        .filter_map(|l| {
            l.strip_prefix("  ")?
                .split(' ')
                .next()
                .filter(|w| !w.is_empty())
        })
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands.into_iter().filter(|c| *c != "help") {
        let page = fs::read_to_string(pages.join(format!("resnet-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}: {page}");
        let (code, printed, _) = run(&["man", command]);
        assert_eq!((code, printed), (0, page), "{command}");
    }
    assert_eq!(
        run(&["man"]).1,
        fs::read_to_string(pages.join("resnet.1")).unwrap()
    );
    assert!(pages.join("resnet-bench-engine.1").exists());
    let page = run(&["man", "bench", "engine"]).1;
    assert!(page.contains("profile"));
    let source = concat!("\"resnet ", env!("CARGO_PKG_VERSION"), "\"");
    let title = page.lines().find(|l| l.starts_with(".TH ")).unwrap();
    assert!(title.contains(source), "{title}");
    let (code, _, stderr) = run(&["man", "sevre"]);
    assert!(
        code == 2 && stderr.contains("no command \"sevre\", there are: serve, classify"),
        "{stderr}"
    );
}

#[test]
fn pages_and_scripts_are_the_same_whatever_the_environment() {
    for args in [&["man", "serve"][..], &["completions", "zsh"]] {
        let with = |port: &str| {
            let mut command = crate::harness::resnet();
            let output = command.args(args).env("RESNET_PORT", port).output();
            super::text_of(&output.unwrap())
        };
        assert_eq!(with("8081"), with("8082"));
    }
}
