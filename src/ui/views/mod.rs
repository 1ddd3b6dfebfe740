//! One file a screen. A view holds only what is selected and what is drafted; everything else is in the snapshot.

pub mod approve;
pub mod empty;
pub mod fleet;
pub mod fleet_side;
pub mod fleet_table;
pub mod now;
pub mod now_centre;
pub mod now_kpi;
pub mod now_proposal;
pub mod now_queue;
pub mod shadow_detail;
pub mod shadow_side;
pub mod shadows;
pub mod source_list;
pub mod sources;
pub mod timeline;
pub mod vm;
