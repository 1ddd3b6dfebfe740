//! Services that a copy may only read are mapped once their balancer is seen to route by method.

use super::{Action, Core, Effect, Failure, Outcome, Pending, ReplyTo};
use crate::{
    engine::command::Reply,
    hypervisor::ErrorKind,
    inventory::{Service, ServiceKind},
    problem::{Problem, ProblemKind},
    traffic::methods,
    units::Timestamp,
};

const NOT_MAPPED: &str = "The service was not mapped.";

/// Where a file of the balancer stands in what people are told before they have named one.
const USUAL_MAP: &str = "/etc/haproxy/NAME.methods";

impl Core {
    /// A copy of a read-only service must be kept from what writes; nothing else needs a map.
    pub(super) fn check_method_map(service: &Service) -> Result<(), Problem> {
        match (service.kind, &service.method_map) {
            (ServiceKind::ReadOnly, None) => {
                let reads = format!("{}-reads", service.backend);
                Err(Problem::refused(
                    NOT_MAPPED,
                    "without routing by method a copy of it would get requests that write, such as POST",
                    methods::configuration(USUAL_MAP, &reads),
                ))
            }
            (ServiceKind::Stateless | ServiceKind::Stateful, Some(_)) => Err(Problem::usage(
                NOT_MAPPED,
                "a method map is for services that a copy may only read",
                "Leave --method-map out, or map it as --read-only.",
            )),
            _ => Ok(()),
        }
    }

    /// Asks the balancer; the answer comes as an outcome.
    pub(super) fn look_for_methods(
        &mut self,
        to: ReplyTo,
        service: Service,
        map: String,
        out: &mut Vec<Effect>,
    ) {
        let action = Action::CheckMethods {
            director: service.director.clone(),
            map,
            backend: service.backend.clone(),
        };
        let service = Box::new(service);
        self.perform(Pending::MapService { to, service }, action, out);
    }

    pub(super) fn methods_looked_at(
        &mut self,
        at: Timestamp,
        service: Service,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) -> Reply {
        match result {
            Ok(_) => Ok(self.keep_service(at, service, out)),
            Err(failure) => {
                let map = service.method_map.as_deref().unwrap_or(USUAL_MAP);
                let (kind, next) = match failure.kind {
                    ErrorKind::Lost | ErrorKind::Transient => (
                        ProblemKind::Unreachable,
                        "Try again when it answers: `shadowcast source list`.".to_owned(),
                    ),
                    ErrorKind::Refused | ErrorKind::Unsupported => (
                        ProblemKind::Refused,
                        methods::configuration(map, &service.backend),
                    ),
                };
                Err(Problem::new(kind, NOT_MAPPED, failure.why, next))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: ServiceKind, map: Option<&str>) -> Service {
        Service {
            name: "shop".into(),
            kind,
            director: "lb".into(),
            backend: "shop".to_owned(),
            members: Vec::new(),
            guest_port: 80,
            guest_address: None,
            probe_path: "/".to_owned(),
            outbound_allowed: false,
            method_map: map.map(str::to_owned),
        }
    }

    #[test]
    fn a_service_that_is_only_read_needs_a_map_and_is_told_how() {
        let refused = Core::check_method_map(&service(ServiceKind::ReadOnly, None)).unwrap_err();
        assert_eq!(refused.kind, ProblemKind::Refused);
        for line in [
            "use_backend %[method,map(",
            "backend shop-reads",
            "GET shop-reads",
        ] {
            assert!(refused.next.contains(line), "{refused}");
        }
        assert!(!service(ServiceKind::ReadOnly, None).allows_clone());
        let routed = service(ServiceKind::ReadOnly, Some("/m"));
        assert_eq!(Core::check_method_map(&routed), Ok(()));
        assert!(routed.allows_clone());
        for kind in [ServiceKind::Stateless, ServiceKind::Stateful] {
            assert_eq!(Core::check_method_map(&service(kind, None)), Ok(()));
            let refused = Core::check_method_map(&service(kind, Some("/m"))).unwrap_err();
            assert_eq!(refused.kind, ProblemKind::Usage);
        }
    }
}
