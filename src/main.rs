//! Chooses the face: a verb of the command line, or the console.

use shadowcast::{
    cli,
    hypervisor::libvirt,
    ui::{self, UiOptions},
};

fn main() {
    let code = cli::run(|session| ui::run(session, UiOptions::default()));
    libvirt::leave(code)
}
