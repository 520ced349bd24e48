//! Generates the wire types from `proto/`, without a system `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

const FILES: [&str; 4] =
    ["fanfold/v1/content.proto", "fanfold/v1/event.proto", "fanfold/v1/frame.proto", "fanfold/v1/service.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let include = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", include.display());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, [&include])?;
    let encoded = descriptors.encode_to_vec();
    std::fs::write(out.join("descriptors.bin"), &encoded)?;
    // Messages and the client. Maps are ordered, so that equal frames have equal bytes.
    tonic_prost_build::configure().build_server(false).btree_map(".fanfold.v1").compile_fds(descriptors.clone())?;
    // The server sends frames that were encoded already, once for all readers.
    let server = out.join("server");
    std::fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".fanfold.v1.ServerFrame", "crate::RawFrame")
        .extern_path(".fanfold.v1", "crate::v1")
        .out_dir(&server)
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .emit_fields()
        .ignore_unknown_fields()
        .btree_map([".fanfold.v1"])
        .build(&[".fanfold.v1"])?;
    count_what_is_written(&out.join("fanfold.v1.serde.rs"))
}

/// With `emit_fields`, pbjson counts an `optional` field as one of the map's although it is left out when it is absent. JSON
/// doesn't tell the number, MessagePack does: there such a map swallowed what came after it. So each field is counted under the
/// condition under which it is written.
fn count_what_is_written(path: &Path) -> Result<(), Box<dyn Error>> {
    let generated = std::fs::read_to_string(path)?;
    let mut blocks = generated.split("        let mut len = 0;\n");
    let mut counted = blocks.next().unwrap_or_default().to_owned();
    for block in blocks {
        let (counting, writing) = block.split_once("        let mut struct_ser").ok_or("nothing is written")?;
        let (writing, rest) = writing.split_once("        struct_ser.end()").ok_or("the end is missing")?;
        let conditions: Vec<&str> = writing.lines().filter_map(|line| line.strip_prefix("        if ")).collect();
        if conditions.len() != counting.matches("len += 1").count() {
            return Err("fields are counted that aren't written".into());
        }
        counted.push_str("        let mut len = 0;\n");
        for condition in conditions {
            let condition = condition.strip_suffix(" {").ok_or("a condition has no block")?;
            let condition = match condition.strip_prefix("let Some(v) = ") {
                Some(field) => format!("{field}.is_some()"),
                None => condition.to_owned(),
            };
            counted.push_str(&format!("        if {condition} {{\n            len += 1;\n        }}\n"));
        }
        counted.push_str(&format!("        let mut struct_ser{writing}        struct_ser.end(){rest}"));
    }
    Ok(std::fs::write(path, counted)?)
}
