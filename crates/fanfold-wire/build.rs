//! Generates the wire types from `proto/`, without a system `protoc`.

use std::error::Error;
use std::path::PathBuf;

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
    // Messages and the client.
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors.clone())?;
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
        .build(&[".fanfold.v1"])?;
    Ok(())
}
