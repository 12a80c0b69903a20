//! Defaults and addresses of Services.

use serde_json::{Map, Value, json};

use super::super::error::{ApiError, Cause};
use super::super::metadata::{section, text};
use super::super::resource::SERVICES;
use super::{Context, default, maps_in};
use crate::hooks::Allocator;

pub(super) fn defaults(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
        default(spec, "ipFamilies", json!(["IPv4"]));
        default(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
    if wants_node_port(spec) {
        default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    for port in maps_in(spec, "ports") {
        default(port, "protocol", json!("TCP"));
        let target = port.get("port").cloned().unwrap_or_default();
        default(port, "targetPort", target);
    }
}

fn wants_node_port(spec: &Map<String, Value>) -> bool {
    matches!(spec.get("type").and_then(Value::as_str), Some("NodePort" | "LoadBalancer"))
}

fn wants_address(spec: &Map<String, Value>) -> bool {
    spec.get("type").and_then(Value::as_str) != Some("ExternalName")
}

/// Gives a new Service its addresses.
pub(super) fn allocate(object: &mut Value, context: &Context<'_>) -> Result<(), ApiError> {
    let name = text(object, "/metadata/name").to_owned();
    let spec = section(object, "spec");
    take(spec, &name, context)?;
    super::reset_status(object, json!({ "loadBalancer": {} }));
    Ok(())
}

/// Keeps a Service's addresses over an update and takes those that it newly needs.
pub(super) fn reallocate(old: &Value, new: &mut Value, context: &Context<'_>) -> Result<(), ApiError> {
    let name = text(new, "/metadata/name").to_owned();
    let had = ports_of(old);
    let spec = section(new, "spec");
    for field in ["clusterIP", "clusterIPs"] {
        let kept = old.pointer("/spec").and_then(|spec| spec.get(field)).filter(|_| wants_address(spec)).cloned();
        if let Some(kept) = kept {
            default(spec, field, kept);
        }
    }
    if wants_node_port(spec) {
        for port in maps_in(spec, "ports") {
            if port.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0
                && let Some(kept) =
                    had.iter().find(|(number, protocol, _)| port.get("port") == Some(number) && port.get("protocol") == Some(protocol))
            {
                port.insert("nodePort".to_owned(), json!(kept.2));
            }
        }
    } else {
        for port in maps_in(spec, "ports") {
            port.remove("nodePort");
        }
        spec.remove("externalTrafficPolicy");
    }
    let held: Vec<u16> = had.iter().map(|(_, _, port)| *port).collect();
    take_ports(spec, &name, &held, context)?;
    if text(old, "/spec/clusterIP").is_empty() {
        take_address(spec, &name, context)?;
    }
    if !context.dry_run {
        let now = ports_of(new);
        for port in held.into_iter().filter(|port| !now.iter().any(|(_, _, kept)| kept == port)) {
            context.allocator.release_node_port(port);
        }
    }
    Ok(())
}

fn ports_of(service: &Value) -> Vec<(Value, Value, u16)> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    ports
        .filter_map(|port| {
            let node_port = port.get("nodePort")?.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)?;
            Some((port.get("port")?.clone(), port.get("protocol")?.clone(), node_port))
        })
        .collect()
}

fn take(spec: &mut Map<String, Value>, name: &str, context: &Context<'_>) -> Result<(), ApiError> {
    take_address(spec, name, context)?;
    let taken = take_ports(spec, name, &[], context);
    if taken.is_err()
        && !context.dry_run
        && let Some(address) = spec.get("clusterIP").and_then(Value::as_str).filter(|address| *address != "None")
    {
        context.allocator.release_cluster_ip(address);
    }
    taken
}

fn take_address(spec: &mut Map<String, Value>, name: &str, context: &Context<'_>) -> Result<(), ApiError> {
    if !wants_address(spec) {
        return Ok(());
    }
    let wanted = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let address = if wanted == "None" || context.dry_run {
        wanted
    } else {
        let requested = Some(wanted.as_str()).filter(|wanted| !wanted.is_empty());
        context
            .allocator
            .cluster_ip(requested)
            .map_err(|why| refusal(name, "spec.clusterIPs", &format!("failed to allocate IP {wanted}: {why}"), &json!([wanted])))?
    };
    if !address.is_empty() {
        spec.insert("clusterIPs".to_owned(), json!([address]));
        spec.insert("clusterIP".to_owned(), json!(address));
    }
    Ok(())
}

fn take_ports(spec: &mut Map<String, Value>, name: &str, held: &[u16], context: &Context<'_>) -> Result<(), ApiError> {
    if !wants_node_port(spec) || context.dry_run {
        return Ok(());
    }
    let mut taken = Vec::new();
    for (index, port) in maps_in(spec, "ports").enumerate() {
        let requested =
            port.get("nodePort").and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0);
        if requested.is_some_and(|number| held.contains(&number)) {
            continue;
        }
        match context.allocator.node_port(requested) {
            Ok(number) => {
                taken.push(number);
                port.insert("nodePort".to_owned(), json!(number));
            }
            Err(why) => {
                taken.into_iter().for_each(|number| context.allocator.release_node_port(number));
                let field = format!("spec.ports[{index}].nodePort");
                return Err(refusal(name, &field, &why, &json!(requested.unwrap_or(0))));
            }
        }
    }
    Ok(())
}

fn refusal(name: &str, field: &str, why: &str, value: &Value) -> ApiError {
    let cause = Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {why}"), field: field.to_owned() };
    ApiError::invalid(&SERVICES, name, vec![cause])
}

pub(super) fn release(service: &Value, allocator: &dyn Allocator) {
    let address = text(service, "/spec/clusterIP");
    if !address.is_empty() && address != "None" {
        allocator.release_cluster_ip(address);
    }
    for (_, _, port) in ports_of(service) {
        allocator.release_node_port(port);
    }
}
