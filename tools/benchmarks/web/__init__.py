"""The measures of services: launching, calling, serving, going through a gateway, ending."""
