//! What a model is expected to take, and what it really takes.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Broker, Node, Setup, files, model};

/// The largest error of an estimate, as a share of the real number.
const ALLOWED: f64 = 0.10;

/// Models that one node loads at once: more would compete for the cores until none has the time for a full step.
const AT_ONCE: usize = 3;

/// Loads until one has warmed up: a busy machine leaves the full step out.
const TRIES: usize = 5;

/// What an engine is loaded with.
#[derive(Clone, Copy)]
struct Shape {
    context: u32,
    sequences: u32,
}

fn shapes(contexts: &[u32]) -> Vec<Shape> {
    let of = |&context: &u32| [1, 4, 16].map(|sequences| Shape { context, sequences });
    contexts.iter().flat_map(of).collect()
}

/// Several models of one file, each in another shape.
fn setup(file: &Path, shapes: &[Shape]) -> Setup {
    let file = file.display();
    let table = |(number, Shape { context, sequences }): (usize, &Shape)| {
        let default = number == 0;
        format!(
            "[[model]]\nname = \"m{number}\"\ndefault = {default}\nfiles = [{{ path = \"{file}\" }}]\ncontext = {context}\n\
             min_context = {context}\nsequences = {sequences}\nthreads = 1\n"
        )
    };
    let tables = shapes.iter().enumerate().map(table).collect();
    Setup { with_model: false, tables, ..Setup::default() }
}

/// The documents of the models once all serve, and whether all have computed a full step.
async fn loaded(file: &Path, shapes: &[Shape]) -> (Vec<Value>, bool) {
    let broker = Broker::start().await;
    let node = Node::start(&broker, &setup(file, shapes));
    node.wait_for_state(&broker, "ready").await;
    let models = node.operator_json(&["models"]);
    (models.as_array().unwrap().clone(), !node.log().contains("not warmed up"))
}

/// The same; an encoder takes most of its memory in its first full step, and alone it has the time for one.
async fn measured(file: &Path, shapes: &[Shape], encoder: bool) -> (Vec<Value>, bool) {
    let mut last = loaded(file, shapes).await;
    for _ in 1..TRIES {
        if last.1 || !encoder {
            break;
        }
        last = loaded(file, shapes).await;
    }
    last
}

/// A line of the table, and by how much the estimate is off.
fn line(document: &Value, shape: Shape, encoder: bool, warm: bool) -> (String, f64) {
    let Shape { context, sequences } = shape;
    // An encoder takes as many jobs, whatever its shape.
    let jobs = if encoder { 32 } else { sequences };
    assert_eq!((&document["context"], &document["sequences"]), (&json!(context), &json!(jobs)), "{document}");
    let [estimate, real] = ["estimate", "real"].map(|key| document["memory"][key].as_u64().unwrap() as f64);
    let error = document["memory"]["error"].as_f64().unwrap();
    assert!((error - (estimate - real) / real).abs() < 0.001, "{document}");
    let [estimate, real] = [estimate, real].map(|bytes| bytes / f64::from(1 << 20));
    let (name, step) = (document["file"].as_str().unwrap(), if warm { "full step" } else { "cold" });
    let percent = 100.0 * error;
    (format!("{name:42} {context:5} {sequences:3} {estimate:8.1} {real:8.1} {percent:+6.1} % {step}\n"), error.abs())
}

#[tokio::test]
async fn it_is_within_a_tenth_of_what_is_real() {
    let trained = [512, 2048, 8192];
    let decoders = [files::f16(), files::int8(), model(), files::int4()].map(|file| (file, &trained[..], false));
    let encoders = [files::embedder(), files::embedder_int8(), files::embedder_int4()];
    let encoders = encoders.map(|file| (file, &trained[..1], true));
    eprintln!("{:42} {:>5} {:>3} {:>8} {:>8} {:>8}", "file", "ctx", "seq", "estimate", "real", "error");
    let mut worst: f64 = 0.0;
    for (file, contexts, encoder) in decoders.into_iter().chain(encoders) {
        for shapes in shapes(contexts).chunks(if encoder { 1 } else { AT_ONCE }) {
            let (documents, warm) = measured(&file, shapes, encoder).await;
            for (document, shape) in documents.iter().zip(shapes) {
                let (line, error) = line(document, *shape, encoder, warm);
                eprint!("{line}");
                // Without that step its real number says nothing.
                if warm || !encoder {
                    worst = worst.max(error);
                }
            }
        }
    }
    assert!(worst <= ALLOWED, "an estimate is {:.1} % off", 100.0 * worst);
}
