//! A terminal with a program on it: `script` gives the program a pseudo-terminal, vt100 tells what it would show.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::until;

/// A terminal in which `promptd` runs; killed when it is dropped.
pub struct Terminal {
    script: Child,
    keys: ChildStdin,
    parser: Arc<Mutex<Shown>>,
}

struct Shown {
    parser: vt100::Parser,
    bytes: usize,
}

impl Terminal {
    /// Runs `promptd` with these arguments in a terminal of so many columns and lines. When it has ended, the terminal shows
    /// its exit code and what `stty` says.
    pub fn start(arguments: &[&str], columns: u16, lines: u16) -> Self {
        let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        let promptd = env!("CARGO_BIN_EXE_promptd");
        let line = format!(
            "stty rows {lines} cols {columns}; '{promptd}' {}; echo \"ended $?\"; stty -a; echo done",
            quoted.join(" ")
        );
        let mut command = Command::new("script");
        command.args(["-q", "-f", "-c", &line, "/dev/null"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let size = |side: u16| side.try_into().unwrap();
        let shown = Shown { parser: vt100::Parser::new(size(lines), size(columns), 0), bytes: 0 };
        let parser = Arc::new(Mutex::new(shown));
        let shared = Arc::clone(&parser);
        // Ends with the terminal.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut shown = shared.lock().unwrap();
                shown.bytes += count;
                shown.parser.process(&buffer[..count]);
            }
        });
        Self { script, keys, parser }
    }

    /// Presses keys, as the bytes that they are.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().parser.screen().contents()
    }

    /// Bytes that the program has sent so far.
    pub fn bytes(&self) -> usize {
        self.parser.lock().unwrap().bytes
    }

    /// The whole screen, with its colours.
    pub fn screen(&self) -> vt100::Screen {
        self.parser.lock().unwrap().parser.screen().clone()
    }

    /// Waits until the screen is so.
    pub async fn shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let start = std::time::Instant::now();
        let mut turn = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(start.elapsed() < super::PATIENCE, "{what} is never on the screen; the last was:\n{text}");
            turn.tick().await;
        }
    }

    /// The process of `promptd`.
    pub async fn pid(&self) -> u32 {
        let script = self.script.id();
        until("promptd runs in the terminal", || {
            children(script).into_iter().flat_map(children).find(|pid| is_promptd(*pid))
        })
        .await
    }

    /// Waits for the end; the terminal must be as it was before. Gives the exit code.
    pub async fn ended(&self) -> i32 {
        let text = self.shows("the end", |text| text.contains("done")).await;
        let words: Vec<&str> = text.split([' ', '\n', ';']).collect();
        for mode in ["icanon", "echo", "isig", "icrnl", "opost"] {
            assert!(words.contains(&mode), "the terminal was left without {mode}:\n{text}");
        }
        let screen = self.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "the screen was not given back:\n{text}");
        let code = text.split("ended ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        code.trim().parse().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_promptd(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "promptd")
}
