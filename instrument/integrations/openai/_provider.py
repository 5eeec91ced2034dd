"""Who is asked, and which deployment: what the URL of a request says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

UNKNOWN = "unknown"
"""The provider of a URL without a host."""

_BY_DOMAIN: Mapping[str, str] = {
    "anthropic.com": "anthropic",
    "aliyuncs.com": "alibaba",
    "anyscale.com": "anyscale",
    "azure.com": "azure",
    "azure.us": "azure",
    "azure.cn": "azure",
    "azure-api.net": "azure",
    "cerebras.ai": "cerebras",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "deepinfra.com": "deepinfra",
    "deepseek.com": "deepseek",
    "fireworks.ai": "fireworks",
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google",
    "githubcopilot.com": "github",
    "models.github.ai": "github",
    "models.inference.ai.azure.com": "github",
    "groq.com": "groq",
    "huggingface.co": "huggingface",
    "huggingface.cloud": "huggingface",
    "hyperbolic.xyz": "hyperbolic",
    "localhost": "local",
    "mistral.ai": "mistral",
    "moonshot.ai": "moonshot",
    "moonshot.cn": "moonshot",
    "nebius.com": "nebius",
    "nvidia.com": "nvidia",
    "openai.com": "openai",
    "openrouter.ai": "openrouter",
    "perplexity.ai": "perplexity",
    "sambanova.ai": "sambanova",
    "together.ai": "together",
    "together.xyz": "together",
    "x.ai": "xai",
    "z.ai": "zai",
    "bigmodel.cn": "zai",
}

_ANYWHERE = ("databricks", "bedrock")
"""Vendors whose hosts are made for each customer or region, and always hold their name."""

_DEPLOYMENT = re.compile(r"/(?:deployments|engines)/([^/]+)/")


@lru_cache(maxsize=256)
def provider_of(url: str) -> str:
    """
    Name the provider that serves *url*, from its host.

    A host that nobody knows is its own name, without the port; a loopback address is `local`.
    """
    host = _host(url)
    labels = host.split(".")
    for first in range(len(labels)):
        name = _BY_DOMAIN.get(".".join(labels[first:]))
        if name is not None:
            return name
    for vendor in _ANYWHERE:
        if vendor in host:
            return vendor
    return "local" if _is_loopback(host) else host or UNKNOWN


@lru_cache(maxsize=256)
def deployment_of(url: str) -> str | None:
    """Give the deployment that *url* names, as Azure's do instead of a model in the body."""
    found = _DEPLOYMENT.search(url)
    return unquote(found[1]) if found else None


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
