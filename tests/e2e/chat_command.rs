//! `promptd chat`.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, Terminal, promptd};

/// Gives a chat these lines and waits for its end.
fn chat(node: &Node, arguments: &[&str], lines: &str) -> Output {
    let mut command = promptd();
    command.args(["chat", "--config"]).arg(node.config()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn each_line_is_a_turn_of_a_session_that_others_can_go_on_with() {
    let broker = Broker::start().await;
    let node = Node::ready(&broker, Setup { sequences: 1, ..Setup::default() }).await;
    let hall = ["--session", "hall", "--client", "panel", "--max-tokens", "8", "--system", "Be brief."];
    let output = chat(&node, &hall, "What is the capital of France?\n\n What is the capital of Italy? \n");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Paris") && said.trim_end().lines().count() >= 2, "{said}");
    let mut panel = Device::connect(&broker, "panel").await;
    let turn = |id: &str| json!({ "id": id, "session": "hall", "input": "And of Spain?", "max_tokens": 4 });
    let third = panel.answer("chat", turn("3")).await;
    assert_eq!(third["session"]["turns"], 3, "{third}");

    // It begins anew with the next line, and `/quit` needs no end of the input.
    let output = chat(&node, &hall, "/reset\nHi\n/quit\nnobody reads this\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(panel.answer("chat", turn("4")).await["session"]["turns"], 2);
    // Without a name it is one of its own, and what is wrong ends it.
    let output = chat(&node, &["--client", "panel", "--model", "none"], "Hi\nHi\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown_model"), "{output:?}");
    assert!(chat(&node, &["--client", "panel", "--max-tokens", "2"], "Hi").status.success());
    assert_eq!(node.operator_json(&["status"])["journal"]["sessions"], 2);
    assert_eq!(node.operator_json(&["forget", "panel"])["forgotten"], 2);

    let config = node.config();
    let arguments = ["chat", "--config", config.to_str().unwrap(), "--session", "tty", "--max-tokens", "6"];
    let mut terminal = Terminal::start(&arguments, 80, 24);
    let prompts = |count: usize| move |text: &str| text.lines().filter(|line| line.starts_with('>')).count() == count;
    terminal.shows("the first prompt", prompts(1)).await;
    terminal.press("Hi\n");
    terminal.shows("the second prompt", prompts(2)).await;
    // An error is shown, and the talk goes on.
    node.operator_json(&["drain"]);
    terminal.press("Hi\n");
    let text = terminal.shows("the third prompt", prompts(3)).await;
    assert!(text.contains("draining: an operator drains the node") && text.contains("session tty"), "{text}");
    node.operator_json(&["resume"]);
    terminal.press("Hi\n");
    terminal.shows("the fourth prompt", prompts(4)).await;
    terminal.press("\u{4}");
    assert_eq!(terminal.ended().await, 0);
    assert_eq!(node.operator_json(&["forget", "cli", "tty"])["forgotten"], 1);
}
