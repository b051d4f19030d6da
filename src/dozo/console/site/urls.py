"""Addresses: sites, vaults, settings, doctor."""

from django.urls import path

from dozo.console.site import host, rebuild, views

urlpatterns = [
    path("sites", views.sites, name="sites"),
    path("sites/vault", views.vault, name="sites-vault"),
    path("sites/upkeep", views.upkeep, name="sites-upkeep"),
    path("sites/prune", views.prune, name="sites-prune"),
    path("sites/retention", views.retention, name="sites-retention"),
    path("sites/peers/new", views.add_peer, name="sites-add-peer"),
    path("sites/rebuild", rebuild.rebuild, name="sites-rebuild"),
    path("sites/rebuild-catalog", rebuild.rebuild_catalog, name="sites-rebuild-catalog"),
    path("settings", host.settings, name="settings"),
    path("settings/notify-test", host.notify_test, name="notify-test"),
    path("doctor", host.doctor, name="doctor"),
]
